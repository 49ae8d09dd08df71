"""llama-server's error in the middle of a stream, found without parsing what passes.

It sends one event and ends (b11434): `data: {"error":{...}}`, in Anthropic's dialect `event: error` and the inner
object; builds of 2025 name the field so, `error: {...}`. Generated text cannot look like it: there quotes and line
ends are escaped.
"""

from __future__ import annotations

_MARKS = (b'data: {"error"', b"event: error", b'error: {"')
_FIELDS = (b"data:", b"error:")
_END = b"\n\n"
LARGEST_BYTES = 1 << 16


def suspicious(chunk: bytes) -> bool:
    """Worth a closer look: it may hold an error, or end in the first bytes of one. Costs as good as nothing."""
    return b'{"error"' in chunk or b"event: error" in chunk or b'error: {"' in chunk or not chunk.endswith(_END)


class ErrorEventFilter:
    """Takes chunks, gives what may pass; keeps an error event, and what may yet become one."""

    def __init__(self) -> None:
        self.kept = b""

    def pass_on(self, chunk: bytes, *, before: bytes) -> bytes:
        """`before` is what was passed last, two bytes of it at least: whether an event may begin depends on it."""
        data = self.kept + chunk
        if self.kept or not before or before.endswith(_END):
            start = 0
        else:
            start = 1 if before.endswith(b"\n") and data.startswith(b"\n") else _after_next(data, 0)
        while 0 <= start < len(data):
            if data.startswith(_MARKS, start) or any(mark.startswith(data[start:]) for mark in _MARKS):
                self.kept = data[start:]
                return data[:start]
            start = _after_next(data, start)
        self.kept = b""
        return data

    @property
    def error(self) -> bytes | None:
        """The `data` of an error event that has come whole, or that is too long to be waited for: then nothing."""
        if not self.kept.startswith(_MARKS):
            return None
        if _END not in self.kept:
            return b"" if len(self.kept) > LARGEST_BYTES else None
        lines = self.kept.split(_END, 1)[0].split(b"\n")
        return b"".join(line.partition(b":")[2] for line in lines if line.startswith(_FIELDS)).strip()


def _after_next(data: bytes, start: int) -> int:
    end = data.find(_END, start)
    return end + len(_END) if end >= 0 else -1
