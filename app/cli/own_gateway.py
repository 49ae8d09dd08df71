"""A gateway that a command starts, and that ends with the command."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.config.files import PREFIX
from app.config.settings import Settings, root_url
from app.engine.parent_death import tied_to_parent
from app.errors import TandemError, UpstreamError

if TYPE_CHECKING:
    from app.server.prepared import PreparedGateway

# Seconds until the first answer, and between tries.
_START_S, _EVERY_S = 60.0, 0.02
# Seconds for the end: streams have ended by then, engines have their own grace period
_END_BESIDE_GRACE_S = 10.0
_LINES_TOLD = 15


class OwnGateway:
    """A context manager around a child process. With `keep` the gateway stays after the command.

    The child has its own session, so that Ctrl-C reaches the command alone, and the kernel ends it with the command.
    `entries` are models added to those of the settings file. `prepared` may be a process that has imported the gateway.
    """

    def __init__(
        self,
        settings: Settings,
        config: Path | None,
        entries: Mapping[str, Any],
        *,
        keep: bool = False,
        prepared: PreparedGateway | None = None,
    ) -> None:
        self._settings = settings
        self._keep = keep
        self.port = _free_port(settings)
        self.url = root_url(settings.host, self.port)
        self.log = settings.state_dir / "run.log"
        words = ["serve", "--port", str(self.port)]
        words += ["--config", str(config)] if config is not None else []
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        environment = _environment(entries)
        self.log.write_bytes(b"")
        process = None
        if prepared is not None:
            process = prepared.order(words, environment, self.log) if prepared.keep == keep else None
            prepared.close()
        self._process = process or self._spawned(words, environment)

    def _spawned(self, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", "-m", "llama_tandem", *words]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                argv if self._keep else tied_to_parent(argv),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> OwnGateway:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._keep and kind is None:
            return
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_up(self) -> None:
        """Raises UpstreamError with the last lines of the log if the gateway fails to start."""
        from app.cli.chat_client import ChatClient  # while the child starts

        end = time.monotonic() + _START_S
        with ChatClient(self.url) as client:
            while time.monotonic() < end:
                if self._process.poll() is not None:
                    why = self._last_lines() or f"exit code {self._process.returncode}"
                    raise UpstreamError(f"The gateway did not start:\n{why}")
                with suppress(TandemError):
                    client.get("/health")
                    return
                time.sleep(_EVERY_S)
        raise UpstreamError(f"The gateway did not answer within {_START_S:.0f} s; its log is {self.log}")

    def end(self) -> None:
        """Stops the gateway and its engines, and waits for them. Ctrl-C meanwhile aborts at once."""
        patience = self._settings.stop_grace + _END_BESIDE_GRACE_S
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                self._process.wait(patience)
                return
            except subprocess.TimeoutExpired:
                continue
            except KeyboardInterrupt:
                patience = 2.0

    def _last_lines(self) -> str:
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(line.removeprefix("llama-tandem: ") for line in lines[-_LINES_TOLD:])
        return ""


def _environment(entries: Mapping[str, Any]) -> dict[str, str]:
    name = f"{PREFIX}MODELS"
    environment = os.environ | {"TANDEM_LOG_FORMAT": "console", "NO_COLOR": "1"}
    if entries:
        models = json.loads(os.environ.get(name) or "{}") | dict(entries)
        environment[name] = json.dumps(models)
    return environment


def _free_port(settings: Settings) -> int:
    """Returns the settings' port, or a free one if it is taken."""
    for port in (settings.port, 0):
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((settings.host, port))
                return int(probe.getsockname()[1])
    raise UpstreamError(f"No port is free on {settings.host}.")
