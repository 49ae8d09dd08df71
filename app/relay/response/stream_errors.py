"""Finds llama-server's error event in a stream without parsing the stream.

llama-server sends one event and ends (b11434): `data: {"error":{...}}`, or `event: error` and the inner object in the
Messages API. Builds of 2025 write `error: {...}`. Generated text cannot look like it, since JSON escapes quotes and
line ends.
"""

from __future__ import annotations

_MARKS = (b'data: {"error"', b"event: error", b'error: {"')
_LONGEST_MARK = max(map(len, _MARKS))
_FIELDS = (b"data:", b"error:")
_END = b"\n\n"
LARGEST_BYTES = 1 << 16


def suspicious(chunk: bytes) -> bool:
    """Tells whether a chunk may hold an error, or ends in the first bytes of one.

    All marks of an error have one word in common, so one search is enough. Text with that word costs a closer look.
    """
    return b"error" in chunk or not chunk.endswith(_END)


class ErrorEventFilter:
    """Takes chunks and returns the bytes that may pass. Holds back an error event, and bytes that may become one."""

    def __init__(self) -> None:
        self.held_back = b""

    def pass_on(self, chunk: bytes, *, before: bytes) -> bytes:
        """Returns the bytes to send.

        `before` are the last bytes sent, two at least: they decide whether an event may begin.
        """
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
        """Returns the `data` of a complete error event. Returns nothing if it is too long to wait for."""
        if not self.held_back.startswith(_MARKS):
            return None
        if _END not in self.held_back:
            return b"" if len(self.held_back) > LARGEST_BYTES else None
        lines = self.held_back.split(_END, 1)[0].split(b"\n")
        return b"".join(line.partition(b":")[2] for line in lines if line.startswith(_FIELDS)).strip()


def _error_start(data: bytes, start: int) -> int:
    """Returns where the first error event, or the possible beginning of one, starts.

    Returns the length of `data` if none.

    An event begins at `start` or after an empty line. The search takes a constant number of passes over `data`, so a
    server that sends many small events cannot delay other requests.
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
