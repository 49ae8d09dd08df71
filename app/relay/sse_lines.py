"""Lines of a server-sent event stream that arrives cut anywhere. Pure."""

from __future__ import annotations


class LineSplitter:
    """Keeps the bytes behind the last line feed for the next chunk."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk, without their LF or CRLF."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.removesuffix(b"\r") for line in lines]


def data_of(line: bytes) -> bytes | None:
    """The value of a `data` field; None for any other line (HTML standard, 9.2.6)."""
    return line[5:].lstrip(b" ") if line.startswith(b"data:") else None
