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
    """Takes chunks and returns the bytes that may pass. Holds back an error event, and bytes that may become one.

    `holding` tells whether it holds back any.
    """

    __slots__ = ("_held", "_is_error", "_searched", "holding")

    def __init__(self) -> None:
        self.holding = False
        self._held = bytearray()
        # Whether the bytes begin an error. Its end is not in the first `_searched`
        self._is_error = False
        self._searched = 0

    def pass_on(self, chunk: bytes, *, before: bytes) -> bytes:
        """Returns the bytes to send.

        `before` are the last bytes sent, two at least: they decide whether an event may begin.
        """
        if self._is_error:
            self._held += chunk
            return b""
        data = bytes(self._held) + chunk
        if self.holding or not before or before.endswith(_END):
            start = 0
        elif before.endswith(b"\n") and data.startswith(b"\n"):
            start = 1
        else:
            first_end = data.find(_END)
            if first_end < 0:
                return data
            start = first_end + len(_END)
        end = _error_start(data, start)
        self._held = bytearray(data[end:])
        self.holding, self._is_error = end < len(data), data.startswith(_MARKS, end)
        return data[:end]

    @property
    def held_back(self) -> bytes:
        """The bytes that have not passed."""
        return bytes(self._held)

    @property
    def error(self) -> bytes | None:
        """Returns the `data` of a complete error event. Returns nothing if it is too long to wait for."""
        if not self._is_error:
            return None
        end = self._held.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._held) - 1)
            return b"" if len(self._held) > LARGEST_BYTES else None
        lines = bytes(self._held[:end]).split(b"\n")
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
