"""Progress as a person or a program reads it: bars on a terminal, plain lines otherwise, JSON events when asked for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TextIO

from app.store.progress import Emit, Event

_PLAIN_EVERY_S, _JSON_EVERY_S = 10.0, 0.5
_STEADY = ("progress", "waiting", "checking")
_WORDS = {"progress": "", "waiting": "another pull has ", "checking": "checked "}


@contextmanager
def shown(as_json: bool, out: TextIO | None = None) -> Iterator[Emit]:
    """What to give a pull; notes of a JSON run are events too."""
    stream = out or sys.stderr
    if as_json:
        yield _json(out or sys.stdout)
    elif stream.isatty():
        with _bars() as emit:
            yield emit
    else:
        yield _plain(stream)


class _Due:
    """Lets a steady event of a file through when it is time."""

    def __init__(self, every: float, clock: Callable[[], float]) -> None:
        self._every, self._clock = every, clock
        self._last: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> bool:
        if event.kind not in _STEADY:
            return True
        now, key = self._clock(), (event.kind, event.path)
        if now - self._last.get(key, -self._every) < self._every:
            return False
        self._last[key] = now
        return True


def _json(out: TextIO, clock: Callable[[], float] = time.monotonic) -> Emit:
    due = _Due(_JSON_EVERY_S, clock)

    def emit(event: Event) -> None:
        if due(event):
            print(json.dumps(asdict(event)), file=out, flush=True)

    return emit


def _plain(out: TextIO, clock: Callable[[], float] = time.monotonic) -> Emit:
    due = _Due(_PLAIN_EVERY_S, clock)

    def emit(event: Event) -> None:
        if not due(event):
            return
        if event.kind == "note":
            print(event.text, file=out, flush=True)
        elif event.kind == "plan":
            print(f"{event.size / 1e9:.2f} GB in all, {event.received / 1e9:.2f} GB here", file=out, flush=True)
        elif event.kind == "done":
            print(f"{event.path}: complete, {event.size / 1e9:.2f} GB", file=out, flush=True)
        elif event.kind in _STEADY and event.size:
            share = f"{100 * event.received / event.size:.0f} %, {event.received / 1e9:.2f} GB"
            print(f"{event.path}: {_WORDS[event.kind]}{share}", file=out, flush=True)

    return emit


@contextmanager
def _bars() -> Iterator[Emit]:
    """One bar a file and a total, with rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        total = bars.add_task("total", total=None)
        tasks, had = {}, dict[str, int]()

        def emit(event: Event) -> None:
            if event.kind == "note":
                bars.console.print(event.text, markup=False, highlight=False)
            elif event.kind == "plan":
                bars.update(total, total=event.size, completed=event.received)
            else:
                words = _WORDS.get(event.kind, "").replace("another pull has ", "other pull: ")
                name = f"{words}{event.path.rpartition('/')[2]}"
                if event.path not in tasks:
                    tasks[event.path] = bars.add_task(name, total=event.size)
                    had[event.path] = event.received
                bars.update(tasks[event.path], completed=event.received, description=name)
                if event.kind == "progress":
                    bars.update(total, advance=event.received - had[event.path])
                    had[event.path] = event.received

        yield emit
