"""A gateway's process that `run` starts before its own imports: both import side by side.

It imports the gateway's modules, then reads its order from stdin: a command line, an environment and a log file.
Without an order it ends.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from app.config.listen_address import ListenAddress, ServeOptions, listen_address
from app.engine.parent_death import tied_to_parent

# The command line of a process that waits for its order
WAITING = ("serve", "-")
# Seconds; a local gateway accepts at once
_CONNECT_S = 0.2


class Order(NamedTuple):
    """`words` are the command line after the program's name. `log` is the file for stdout and stderr."""

    words: list[str]
    environment: dict[str, str]
    log: str


class PreparedGateway:
    """The waiting process, seen from `run`. `keep`: it may outlive this process once it has its order."""

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        argv = [sys.executable, "-P", "-m", "llama_tandem", *WAITING]
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            argv if keep else tied_to_parent(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def order(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes] | None:
        """Returns the process, which the caller owns from now on, or None if it has ended."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return None
        try:
            with process.stdin as stdin:
                stdin.write(json.dumps(Order(list(words), dict(environment), str(log))).encode())
        except OSError:
            process.kill()
            process.wait()
            return None
        return process

    def close(self) -> None:
        """Ends the process if it has no order."""
        if (process := self._process) is not None:
            self._process = None
            process.kill()
            process.communicate()


def prepared_for_run(words: Sequence[str]) -> PreparedGateway | None:
    """Returns a process for `run` with these words, or None if it would not need one: a gateway listens already."""
    if {"-h", "--help"} & set(words):
        return None
    address = listen_address(ServeOptions(config=_config_of(words)))
    if address is None or (address.port and _listens(address)):
        return None
    return PreparedGateway(keep="--keep" in words)


def read_order() -> Order | None:
    """Waits for the order. Returns None if there is none: the process that would give it has ended."""
    try:
        words, environment, log = json.loads(sys.stdin.buffer.read())
        return Order(words, environment, log)
    except ValueError:
        return None


def obey(order: Order) -> None:
    """Takes over the order's command line, environment and log."""
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv[1:] = order.words
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.close(log)
    os.close(nothing)


def _config_of(words: Sequence[str]) -> Path | None:
    """Returns the settings file of a command line with any other options."""
    named = None
    for word, value in pairwise([*words, ""]):
        if word == "--config":
            named = value
        elif word.startswith("--config="):
            named = word.partition("=")[2]
    return Path(named) if named else None


def _listens(address: ListenAddress) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    with suppress(OSError), socket.create_connection((host, address.port), _CONNECT_S):
        return True
    return False
