"""Records the URLs of running gateways in `state_dir`, for commands of the same user.

The settings are not enough: the port may come from the command line or the system, or the file may have changed since
the start. Each gateway has its own file. The file of a killed gateway stays and is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from app import logs
from app.config.settings import Settings, root_url
from app.errors import ConfigError

log = logs.get_logger("gateway")

FOLDER = "gateways"


class RunningGateway(msgspec.Struct, frozen=True):
    """`url` is where `/admin` answers.

    `config` is the settings file. `started` is the process's start (epoch seconds).
    """

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
    """Lists this process at `url` while the context lasts. Does without the file if it cannot be written."""
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
        with suppress(OSError):  # where it could not be written either
            path.unlink()


def running(state_dir: Path) -> list[RunningGateway]:
    """Returns the gateways whose process is alive."""
    gateways = []
    for path in sorted((state_dir / FOLDER).glob("*.json")):
        try:
            gateways.append(msgspec.json.decode(path.read_bytes(), type=RunningGateway))
        except (OSError, msgspec.DecodeError):  # It has just ended, or the file is foreign
            continue
    return [gateway for gateway in gateways if gateway.alive]


def admin_url(settings: Settings, config: Path) -> str:
    """Returns the admin URL of the gateway for the settings in `config`. Raises ConfigError."""
    gateways = running(settings.state_dir)
    ours = [gateway for gateway in gateways if gateway.config == str(config)] or gateways
    if len(ours) == 1:
        return ours[0].url
    if not (port := settings.admin_port or settings.port):
        raise ConfigError(["port: 0 picks a free port, and no gateway runs here; start one, or set TANDEM_PORT"])
    return root_url("127.0.0.1" if settings.admin_port else settings.host, port)
