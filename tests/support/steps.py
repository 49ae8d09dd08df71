"""Counts what a component does for its input, without a clock: lines and calls, and bytes of memory that it fills anew.

A component whose cost is linear does at most twice as much for twice the input. One that copies, joins or decodes all
that it has received for every chunk does four times as much.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

# A doubled input may cost this much more: buffers grow in jumps.
MOST_FOR_TWICE = 2.7
# Below this many bytes or calls a component's fixed costs decide.
_NOISE = 20_000

# Makes a fresh component, and returns the function that takes its input piece by piece
Component = Callable[[], Callable[[Any], object]]


def lines_and_calls(make: Component, pieces: Sequence[Any]) -> int:
    """Returns how many lines of Python run, and how many functions of C, while the component takes the pieces."""
    feed, count = make(), 0

    def line(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal count
        count += 1
        return line

    def call(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "c_call"

    traced_before = sys.gettrace()
    sys.settrace(line)
    sys.setprofile(call)
    try:
        for piece in pieces:
            feed(piece)
    finally:
        sys.setprofile(None)
        sys.settrace(traced_before)
    return count


def bytes_filled(make: Component, pieces: Sequence[Any]) -> int:
    """Returns the sum over all pieces of the memory that each needs while the component takes it."""
    feed, total = make(), 0
    tracemalloc.start()
    try:
        for piece in pieces:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            feed(piece)
            total += max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return total


def check_linear(make: Component, pieces: Callable[[int], Sequence[Any]], size: int) -> None:
    """Fails if the component does more than about twice as much for `pieces(2 * size)` as for `pieces(size)`."""
    once, twice = pieces(size), pieces(2 * size)
    for measure in (lines_and_calls, bytes_filled):
        less, more = measure(make, once), measure(make, twice)
        assert more <= MOST_FOR_TWICE * less + _NOISE, f"{measure.__name__}: {less:,} for {size:,}, {more:,} for twice"
