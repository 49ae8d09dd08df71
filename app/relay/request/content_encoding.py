"""Decodes compressed request bodies as they arrive (Codex sends zstd).

A body of a few KiB can decode to gigabytes. So each message holds at most `_SLICE` decoded bytes, and the reader of the
body enforces its own limit. Memory beyond that limit never exceeds one slice.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from app.errors import InvalidBodyError, UnsupportedEncodingError
from app.relay.headers import Headers
from app.relay.request.body import Message, Receive
from app.relay.request.scope import Scope, header

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Bytes. A slice takes about a millisecond of the event loop.
_SLICE = 256 * 1024
_OF_ENCODED = frozenset((b"content-encoding", b"content-length"))
_LARGEST_WINDOW_LOG = 27  # 128 MiB, the default limit of the `zstd` command


class _Decoder(Protocol):
    """Decodes one compressed body. The interface is that of bz2, which zlib lacks."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """Decodes gzip, zlib and raw deflate."""

    def __init__(self, window_bits: int) -> None:
        self._decoder = zlib.decompressobj(window_bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        # zlib may hold more output although its input is used up
        self.needs_input = len(output) < max_length and not self._decoder.unconsumed_tail
        return output


class _Deflate(_Zlib):
    """Decodes deflate. RFC 9110 means zlib's format by that name, but many clients send raw deflate."""

    def __init__(self) -> None:
        super().__init__(zlib.MAX_WBITS)
        self._begun = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if not self._begun and data:
            self._begun = True
            # The header of zlib. Raw deflate with these bytes would begin with an invalid stored block.
            if data[0] & 0x8F != 8:
                self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        return super().decompress(data, max_length)


def _gzip() -> _Decoder:
    return _Zlib(zlib.MAX_WBITS | 16)


def _zstd() -> _Decoder:
    return zstd.ZstdDecompressor(options={int(zstd.DecompressionParameter.window_log_max): _LARGEST_WINDOW_LOG})


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _Deflate,
    "zstd": _zstd,
}
TAKEN = "gzip, deflate, zstd"


def decoded(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """Returns the request as if its client had sent the body uncompressed. Raises UnsupportedEncodingError.

    The returned `receive` raises InvalidBodyError if the body does not match its Content-Encoding.
    """
    name = header(scope["headers"], b"content-encoding").decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return scope, receive
    if name not in _DECODERS:
        raise UnsupportedEncodingError(f"Unsupported Content-Encoding {name!r}. Send {TAKEN} or none.")
    headers: Headers = [(field, value) for field, value in scope["headers"] if field not in _OF_ENCODED]
    return scope | {"headers": headers}, _Body(name, receive)


class _Body:
    """An ASGI `receive` whose messages are decoded."""

    def __init__(self, encoding: str, receive: Receive) -> None:
        self._encoding = encoding
        self._receive = receive
        self._decoder = _DECODERS[encoding]()
        self._more = True
        self._begun = False

    async def __call__(self) -> Message:
        data = b""
        if not self._pending:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            data, self._more = message.get("body", b""), message.get("more_body", False)
        else:
            await asyncio.sleep(0)  # Lets other tasks run, since no network wait separates these slices
        return {"type": "http.request", "body": self._decode(data), "more_body": self._unfinished()}

    @property
    def _pending(self) -> bool:
        """Tells whether there is output that needs no further input."""
        return self._begun and not self._decoder.needs_input and not self._decoder.eof

    def _decode(self, data: bytes) -> bytes:
        self._begun = self._begun or bool(data)
        output = b""
        if not self._decoder.eof:
            try:
                output = self._decoder.decompress(data, _SLICE)
            except (zlib.error, zstd.ZstdError) as error:
                raise InvalidBodyError(f"The body is not valid {self._encoding}: {error}.") from None
            data = self._decoder.unused_data
        if data:
            raise InvalidBodyError(f"The body continues after the end of its {self._encoding} data.")
        return output

    def _unfinished(self) -> bool:
        """Tells whether more data must come. Raises InvalidBodyError for a truncated body."""
        if self._more or self._pending:
            return True
        if self._begun and not self._decoder.eof:
            raise InvalidBodyError(f"The body ends before its {self._encoding} data does.")
        return False
