"""`python -m tests.support.puller JSON`: downloads one file, and kills itself at a point that was asked for.

A block comes in several pieces. `kill_at` counts the calls that matter, each of them a point between two states:
pieces received, writes of blocks, lines of the journal, syncs, renames. `torn` does half of that call first, where it
is a write. The bytes that were received are counted in `counted`, a file, since nothing else of this process survives.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import app.models.download.buffers
from app.models.disk.layout import FileLocation
from app.models.download.file import download
from app.models.download.http import HttpConnections
from app.models.download.journal import FileVersion
from app.models.download.ranges import FileAddress

# Of a block
PIECES = 3


class Direct:
    """Knows where the bytes are without asking."""

    def __init__(self, url: str) -> None:
        self._url = url

    def address(self, identity: FileVersion, rest: Callable[[float], None]) -> FileAddress:
        return FileAddress(self._url, self._url)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def mine_the_calls(kill_at: int | None, torn: bool, counted: str) -> None:
    lock, calls = threading.Lock(), 0
    tally = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    receive = HTTPResponse.readinto
    real = {name: getattr(os, name) for name in ("pwrite", "write", "fsync", "replace", "ftruncate")}

    def count(name: str, *args: Any) -> None:
        nonlocal calls
        with lock:
            calls += 1
            if calls == kill_at:
                if torn and name in ("pwrite", "write"):
                    real[name](args[0], args[1][: len(args[1]) // 2], *args[2:])
                die()

    def wrapped(name: str) -> Any:
        def call(*args: Any) -> Any:
            count(name, *args)
            return real[name](*args)

        return call

    def received(response: HTTPResponse, into: memoryview) -> int:
        got = receive(response, into)
        with lock:
            real["write"](tally, b"%d\n" % got)
        count("readinto")
        return got

    for name in real:
        setattr(os, name, wrapped(name))
    HTTPResponse.readinto = received  # type: ignore[method-assign, assignment]


def main() -> None:
    order = json.loads(sys.argv[1])
    place = FileLocation(Path(order["models_dir"]), order["identity"]["repo"], order["identity"]["path"])
    place.prepare()
    app.models.download.buffers.PIECE = order["block"] // PIECES  # type: ignore[attr-defined]
    mine_the_calls(order["kill_at"], order["torn"], order["counted"])
    with HttpConnections() as wire:
        identity = FileVersion(**order["identity"])
        download(place, identity, Direct(order["url"]), wire, lambda _: None, block=order["block"], workers=2)


if __name__ == "__main__":
    main()
