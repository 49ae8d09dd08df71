"""The interface of an API format: errors and comments as one API's clients expect them. `api.formats` implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.relay.headers import Headers


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response in one piece: status, headers and body."""

    status: int
    body: bytes
    headers: Headers


class ApiFormat(Protocol):
    """Writes errors and comments in the format of one API."""

    # The headers in which this API's clients look for the request id.
    id_names: tuple[bytes, ...]

    def error(self, error: Exception, *, request_id: str) -> ErrorResponse:
        """Returns the response to a request that failed before its answer began."""

    def error_event(self, error: Exception) -> bytes:
        """Returns a server-sent event, blank line included, for a stream that fails after its start."""

    def upstream_error(self, status: int, body: bytes, request: bytes | None = None) -> tuple[int, bytes]:
        """Returns status and JSON body for an upstream's complete error response (400 or above) to `request`."""

    def upstream_error_event(self, status: int, body: bytes, request: bytes | None = None) -> bytes:
        """Returns the event for an error that the upstream reported after our headers went out."""

    def comment(self, text: str) -> bytes:
        """Returns bytes that every client of this API format ignores."""
