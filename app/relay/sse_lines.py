"""Splits a server-sent event stream, in chunks of any size, into lines. Pure."""

from __future__ import annotations


class LineSplitter:
    """Splits chunks into lines. Keeps the chunks after the last line feed, so that a long line is copied once."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the lines that end in this chunk, without their LF or CRLF."""
        self._rest.append(chunk)
        if b"\n" not in chunk:
            return []
        *lines, rest = b"".join(self._rest).split(b"\n")
        self._rest = [rest]
        return [line.removesuffix(b"\r") for line in lines]


def data_of(line: bytes) -> bytes | None:
    """Returns the value of a `data` field, or None for any other line (HTML standard, 9.2.6)."""
    return line[5:].lstrip(b" ") if line.startswith(b"data:") else None
