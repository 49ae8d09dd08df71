"""llama-server's error in the middle of a stream, found without parsing what passes.

It sends one event and ends (b11434): `data: {"error":{...}}`, in Anthropic's dialect `event: error` and the inner
object; builds of 2025 name the field so, `error: {...}`. Generated text cannot look like it: there quotes and line
ends are escaped.
"""

from __future__ import annotations

_MARKS = (b'data: {"error"', b"event: error", b'error: {"')
_LONGEST_MARK = max(map(len, _MARKS))
_FIELDS = (b"data:", b"error:")
_END = b"\n\n"
LARGEST_BYTES = 1 << 16


def suspicious(chunk: bytes) -> bool:
    """Worth a closer look: it may hold an error, or end in the first bytes of one.

    One search for what all marks have: text with that word in it is looked at in vain, and costs less than two more
    searches of every chunk.
    """
    return b"error" in chunk or not chunk.endswith(_END)


class ErrorEventFilter:
    """Takes chunks, gives what may pass; keeps an error event, and what may yet become one."""

    def __init__(self) -> None:
        self.held_back = b""

    def pass_on(self, chunk: bytes, *, before: bytes) -> bytes:
        """`before` is what was passed last, two bytes of it at least: whether an event may begin depends on it."""
        data = self.held_back + chunk
        if self.held_back or not before or before.endswith(_END):
            start = 0
        elif before.endswith(b"\n") and data.startswith(b"\n"):
            start = 1
        else:
            first_end = data.find(_END)
            if first_end < 0:
                return data
            start = first_end + len(_END)
        end = _error_start(data, start)
        self.held_back = data[end:]
        return data[:end]

    @property
    def error(self) -> bytes | None:
        """The `data` of an error event that has come whole, or that is too long to be waited for: then nothing."""
        if not self.held_back.startswith(_MARKS):
            return None
        if _END not in self.held_back:
            return b"" if len(self.held_back) > LARGEST_BYTES else None
        lines = self.held_back.split(_END, 1)[0].split(b"\n")
        return b"".join(line.partition(b":")[2] for line in lines if line.startswith(_FIELDS)).strip()


def _error_start(data: bytes, start: int) -> int:
    """Where the first error event begins, or what may become one; the length of `data` if there is neither.

    An event begins at `start` or behind an empty line. The search costs a constant number of passes over `data`: one
    server that sends many small events must not hold up the others.
    """
    if data.startswith(_MARKS, start):
        return start
    places = (data.find(_END + mark, start) for mark in _MARKS)
    if begins := [place + len(_END) for place in places if place >= 0]:
        return min(begins)
    last_end = data.rfind(_END, start)
    last = start if last_end < 0 else last_end + len(_END)
    rest = len(data) - last
    unfinished = 0 < rest < _LONGEST_MARK and any(mark.startswith(data[last:]) for mark in _MARKS)
    return last if unfinished else len(data)
