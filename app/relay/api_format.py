"""What the relay needs to know of a client's dialect; `api` passes one in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.relay.headers import Headers


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A whole answer."""

    status: int
    body: bytes
    headers: Headers


class ApiFormat(Protocol):
    """Errors and comments in the words of one API."""

    # The headers in which this API's clients look for the request's id.
    id_names: tuple[bytes, ...]

    def error(self, error: Exception, *, request_id: str) -> ErrorResponse:
        """The answer to a request that failed before its answer began."""

    def error_event(self, error: Exception) -> bytes:
        """A server-sent event, blank line included, for a stream that fails after its start."""

    def upstream_error(self, status: int, body: bytes, request: bytes | None = None) -> tuple[int, bytes]:
        """Status and JSON body for an upstream's whole answer of 400 or more to `request`."""

    def upstream_error_event(self, status: int, body: bytes, request: bytes | None = None) -> bytes:
        """The event for an error that the upstream answered, or sent, after our headers had gone out."""

    def comment(self, text: str) -> bytes:
        """Bytes that every client of this API format ignores."""
