"""Divides long work into turns of the event loop, so that the streams of other clients go on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import TypeVar

Result = TypeVar("Result")
# Work that yields where it may pause, and returns its result
Steps = Generator[None, None, Result]

# Bytes of a stream. If all its events are small, reading so many takes a few milliseconds.
READ_AT_ONCE = 2048
# Bytes of a body. One look at each of them takes a tenth of a millisecond to a millisecond
_LARGE = 128 * 1024


async def in_turns(steps: Steps[Result]) -> Result:
    """Does the work, one step per turn, and returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        await asyncio.sleep(0)


def at_once(steps: Steps[Result]) -> Result:
    """Does the work in one turn, and returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


async def a_turn_for(body: bytes) -> None:
    """Begins another turn if the body is so large that reading it once takes a good part of one."""
    if len(body) > _LARGE:
        await asyncio.sleep(0)


async def parts_in_turns(chunk: bytes) -> AsyncIterator[bytes]:
    """Yields a stream's chunk in parts, one per turn. A burst of an engine may be thousands of events in one chunk."""
    yield chunk if len(chunk) <= READ_AT_ONCE else chunk[:READ_AT_ONCE]
    for start in range(READ_AT_ONCE, len(chunk), READ_AT_ONCE):
        await asyncio.sleep(0)
        yield chunk[start : start + READ_AT_ONCE]
