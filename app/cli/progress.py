"""Progress for a person or a program: bars on a terminal, plain lines otherwise, or JSON events."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO, get_args

from app.models.download.events import RECEIVED, ByteCount, DownloadEvent, Emit, Kind, Verdict
from app.terminal import StatusLine, bar, in_colour, is_terminal, one_line, say, size_in_words, visible, wrapped

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_EVERY_S, _JSON_EVERY_S = 10.0, 0.5
# Columns: for a bar, if there are several; and for the text after it, with two left over. A line that
# fills the terminal would be wrapped by the `^C` of a stopped pull, and stay there.
_BAR, _WIDE, _FIGURES = 24, 110, 38
_STEADY = ("progress", "waiting", "checking")
_WORDS = {"progress": "", "waiting": "another pull has ", "checking": "checked "}
_VERDICTS = get_args(Verdict)


@contextmanager
def shown(as_json: bool, out: TextIO | None = None, counted: frozenset[Kind] = RECEIVED) -> Iterator[Emit]:
    """Yields the `emit` for a pull. Notes of a JSON run are events too. The total is of `counted` events."""
    stream = out or sys.stderr
    if as_json:
        yield _json(out or sys.stdout)
    elif is_terminal(stream):
        # On TERM=dumb rich prints its bars once, at the end, and no escape codes
        dumb = os.environ.get("TERM") == "dumb"
        with (_bars if in_colour(stream) or dumb else _one_line_bar)(counted) as emit:
            yield emit
    else:
        yield _plain(stream)


class _Due:
    """Limits steady events of a file to a fixed pace."""

    def __init__(self, every: float, clock: Callable[[], float]) -> None:
        self._every, self._clock = every, clock
        self._last: dict[tuple[str, str], float] = {}

    def __call__(self, event: DownloadEvent) -> bool:
        if event.kind not in _STEADY:
            return True
        now, key = self._clock(), (event.kind, event.path)
        if now - self._last.get(key, -self._every) < self._every:
            return False
        self._last[key] = now
        return True


def _json(out: TextIO, clock: Callable[[], float] = time.monotonic) -> Emit:
    due = _Due(_JSON_EVERY_S, clock)

    def emit(event: DownloadEvent) -> None:
        if due(event):
            print(json.dumps(asdict(event)), file=out, flush=True)

    return emit


def _plain(out: TextIO, clock: Callable[[], float] = time.monotonic) -> Emit:
    due = _Due(_PLAIN_EVERY_S, clock)

    def emit(event: DownloadEvent) -> None:
        if not due(event):
            return
        if event.kind == "note":
            print(visible(event.text), file=out, flush=True)
        elif event.kind == "plan":
            here = f", {size_in_words(event.received)} here" if event.received else ""
            print(f"{size_in_words(event.size)} in all{here}", file=out, flush=True)
        elif event.kind == "done":
            print(f"{one_line(event.path)}: complete, {size_in_words(event.size)}", file=out, flush=True)
        elif event.kind in _VERDICTS:
            print(_verdict(event), file=out, flush=True)
        elif event.kind in _STEADY and event.size:
            share = f"{100 * event.received // event.size} %, {size_in_words(event.received)}"
            print(f"{one_line(event.path)}: {_WORDS[event.kind]}{share}", file=out, flush=True)

    return emit


def _verdict(event: DownloadEvent) -> str:
    return one_line(f"{event.path}: {event.kind}{': ' if event.text else ''}{event.text}")


@contextmanager
def _bars(counted: frozenset[Kind]) -> Iterator[Emit]:
    """Shows one bar per file and a total, with rate and time left. Shows future files if there is room."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    cells = _BAR if console.width >= _WIDE else _BAR // 3
    columns = (TextColumn("{task.description}", markup=False), BarColumn(cells), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bars:
        total, tally = bars.add_task("total", total=None), ByteCount(counted)
        tasks: dict[str, TaskID] = {}

        def print_note(text: str) -> None:
            # Several lines are text to paste, which must not be wrapped
            shown = visible(text) if "\n" in text else wrapped(visible(text), sys.stderr)
            bars.console.print(shown, markup=False, highlight=False, soft_wrap=True)

        def emit(event: DownloadEvent) -> None:
            tally.take(event)
            if event.kind == "note":
                print_note(event.text)
            elif event.kind == "plan":
                bars.update(total, total=event.size, completed=event.received)
            elif event.kind in _VERDICTS:
                # The bar shows it for an intact file
                if event.kind != "fine" or event.text:
                    print_note(_verdict(event))
            elif event.kind != "file" or len(bars.tasks) + 1 < console.height:
                words = _WORDS.get(event.kind, "").replace("another pull has ", "other pull: ")
                room = console.width - _FIGURES - cells - len(words)
                name = words + _short(one_line(event.path).rpartition("/")[2], room)
                if event.path not in tasks:
                    _make_room(bars)
                    tasks[event.path] = bars.add_task(name, total=event.size)
                bars.update(tasks[event.path], completed=event.received, description=name)
                bars.update(total, completed=tally.received)

        yield emit


@contextmanager
def _one_line_bar(counted: frozenset[Kind]) -> Iterator[Emit]:
    """Shows only the total, for a terminal without escape codes."""
    line, tally, began, size = StatusLine(), ByteCount(counted), time.monotonic(), 0
    before: int | None = None

    def emit(event: DownloadEvent) -> None:
        nonlocal size, before
        tally.take(event)
        if event.kind == "note" or (event.kind in _VERDICTS and (event.kind != "fine" or event.text)):
            line.clear()
            say(event.text if event.kind == "note" else _verdict(event), sys.stderr)
            return
        size, before = (event.size, event.received) if event.kind == "plan" else (size, before)
        rate = max(0, tally.received - (before or 0)) / max(0.1, time.monotonic() - began)
        share = f"{bar(tally.received / size)} {100 * tally.received // size} %  " if size else ""
        line.show(f"{share}{size_in_words(tally.received)} of {size_in_words(size)}  {size_in_words(int(rate), 1)}/s")

    try:
        yield emit
    finally:
        line.clear()


def _short(name: str, width: int) -> str:
    """Shortens a name and keeps its end, which has a shard's number."""
    return name if len(name) <= width else f"…{name[-max(1, width - 1) :]}"


def _make_room(bars: Progress) -> None:
    """Removes bars of finished files if there are more than the terminal has lines."""
    shown = [task for task in bars.tasks if task.visible]
    done = next((task for task in shown[1:] if task.finished), None)
    if len(shown) + 1 >= bars.console.height and done is not None:
        bars.update(done.id, visible=False)
