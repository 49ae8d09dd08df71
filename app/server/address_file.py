"""Where the gateways of a `state_dir` answer, for the commands of the same user.

The settings do not tell: a port may have been given on the command line, chosen by the system, or changed in the file
since the start. Each gateway has a file of its own; one that was killed leaves it behind, and it counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from app import logs
from app.config.settings import Settings, root_url
from app.errors import ConfigError

log = logs.get_logger("gateway")

FOLDER = "gateways"


class RunningGateway(msgspec.Struct, frozen=True):
    """`url` is where `/admin` answers, `config` the settings file, `started` the process's start (epoch seconds)."""

    url: str
    config: str
    pid: int
    started: float

    @property
    def alive(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1
        except psutil.Error:
            return False


@contextmanager
def listed(state_dir: Path, url: str, config: Path) -> Iterator[None]:
    """This process answers at `url` as long as the context lasts; without the file where none can be written."""
    process = psutil.Process()
    gateway = RunningGateway(url, str(config), process.pid, process.create_time())
    path = state_dir / FOLDER / f"{process.pid}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        whole.write_bytes(msgspec.json.encode(gateway))
        whole.replace(path)
    except OSError as error:
        log.warning("commands may not find this gateway", error=f"{path}: {error.strerror}")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running(state_dir: Path) -> list[RunningGateway]:
    """Those whose process is alive."""
    gateways = []
    for path in sorted((state_dir / FOLDER).glob("*.json")):
        try:
            gateways.append(msgspec.json.decode(path.read_bytes(), type=RunningGateway))
        except (OSError, msgspec.DecodeError):  # it has just ended, or is no file of ours
            continue
    return [gateway for gateway in gateways if gateway.alive]


def admin_url(settings: Settings, config: Path) -> str:
    """Where the gateway of the settings in `config` takes `/admin`, as far as anybody can tell; raises ConfigError."""
    gateways = running(settings.state_dir)
    ours = [gateway for gateway in gateways if gateway.config == str(config)] or gateways
    if len(ours) == 1:
        return ours[0].url
    if not (port := settings.admin_port or settings.port):
        raise ConfigError(["port: 0 picks a free port, and no gateway runs here; start one, or set TANDEM_PORT"])
    return root_url("127.0.0.1" if settings.admin_port else settings.host, port)
