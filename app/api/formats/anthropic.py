"""Formats errors for Anthropic's clients: `{"type": "error", "error": {type, message}}`, `request-id`,
`event: error`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from app.api.formats.openai import OpenAIFormat
from app.api.formats.status_codes import HttpError
from app.api.formats.upstream_errors import Refusal
from app.relay.api_format import ErrorResponse

# Anthropic's own status, in place of 503.
OVERLOADED = 529
_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    OVERLOADED: "overloaded_error",
}
_KINDS = frozenset((*_BY_STATUS.values(), "api_error", "billing_error", "timeout_error"))


def kind_of(status: int) -> str:
    """Returns Anthropic's error `type` for a status."""
    return _BY_STATUS.get(status, "invalid_request_error" if status < 500 else "api_error")


class AnthropicFormat(OpenAIFormat):
    """The API format of Anthropic's clients. llama-server reports errors to them in its own."""

    id_names = (b"x-request-id", b"request-id")

    def error(self, error: Exception, *, request_id: str) -> ErrorResponse:
        response = super().error(error, request_id=request_id)
        passing = any(name == b"retry-after" for name, _ in response.headers)
        return replace(response, status=OVERLOADED) if response.status == 503 and passing else response

    def upstream_error(self, status: int, body: bytes, request: bytes | None = None) -> tuple[int, bytes]:
        status, body = super().upstream_error(status, body, request)
        return (OVERLOADED if status == 503 else status), body

    def body(self, message: str, error: HttpError, **more: Any) -> bytes:
        # A permanent 503 is no overload.
        broken = error.status == 503 and error.retry_after is None
        return _body("api_error" if broken else kind_of(error.status), message, more)

    def refused(self, refusal: Refusal, body: bytes) -> bytes:
        message = refusal.message
        if overflow := refusal.overflow:
            # The text of Anthropic's own API. Clients that find it shorten the conversation.
            message = f"prompt is too long: {overflow[0]} tokens > {overflow[1]} maximum"
        kind = refusal.kind if refusal.kind in _KINDS and refusal.status < 500 else kind_of(refusal.status)
        return _body(kind, message, refusal.more)

    def event(self, body: bytes) -> bytes:
        return b"event: error\ndata: " + body + b"\n\n"


def _body(kind: str, message: str, more: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message} | more})
