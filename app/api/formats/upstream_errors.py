"""Parses an upstream's error response for every API format.

llama-server (b11434) sends `{"error": {"code": <int status>, "message", "type"}}`, without `param`. In streams of the
Messages API it sends the inner object alone. Other servers send something close to that or to OpenAI's format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.api.formats.llama_server_refusals import bad_request, explained

# From llama-server a 500 may concern the request, and a 501 concerns the engine's flags.
_MISLEADING = frozenset((500, 501))
_OVERFLOW = "exceed_context_size_error"
# llama-server's message may repeat a client's message or tools of any size.
LONGEST_MESSAGE = 2000
_READ_CHARACTERS = 2 * LONGEST_MESSAGE


@dataclass(frozen=True, slots=True)
class Refusal:
    """`kind` and `code` are OpenAI's `type` and `code`. `more` are further fields (`n_ctx`)."""

    status: int
    message: str
    kind: str
    code: str | None
    param: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    # Whether it already has OpenAI's format, so its bytes may pass.
    well_formed: bool = False

    @property
    def overflow(self) -> tuple[int, int] | None:
        """Returns the tokens of the prompt and of the context, if the prompt is too long."""
        tokens, context = self.more.get("n_prompt_tokens"), self.more.get("n_ctx")
        return (tokens, context) if isinstance(tokens, int) and isinstance(context, int) else None


# The error code by status. Other statuses have null.
_CODES = {
    401: "invalid_api_key",
    404: "not_found",
    413: "body_too_large",
    415: "unsupported_content_encoding",
    429: "rate_limit_exceeded",
    500: "internal_error",
    501: "not_supported",
    502: "upstream_died",
    503: "engine_unavailable",
}


def read(status: int, body: bytes, request: bytes | None = None) -> Refusal:
    """Parses an error and never raises; an invalid one is described by its status.

    `request` is the body that went upstream.
    """
    document = _object(body)
    inner = document.get("error", document)
    fields = inner if isinstance(inner, dict) else {"message": inner} if isinstance(inner, str) else {}
    message = fields.get("message") or fields.get("detail")
    kind, code = fields.get("type"), fields.get("code")
    if not isinstance(message, str):
        return Refusal(status, f"The engine answered {status}.", "server_error", _CODES.get(status))
    message = message[:_READ_CHARACTERS]
    if not isinstance(kind, str) or kind == "error":
        kind = "server_error" if status >= 500 else "invalid_request_error"
    well_coded = code is None or (isinstance(code, str) and not code.isdigit())
    right = inner is not document and "param" in fields and "code" in fields and well_coded
    # A 500 from a server with OpenAI's error format is a real 500.
    if not right and status in _MISLEADING and (words := bad_request(message)) is not None:
        code = "not_supported" if status == 501 else 400
        status, kind, message = 400, "invalid_request_error", words
    param = fields.get("param")
    if not right and status == 400 and kind == "invalid_request_error":
        message, place, known = explained(message, request)
        param = place if param is None else param
        code = known if known is not None and not isinstance(code, str) else code
    more = {k: v for k, v in fields.items() if k not in ("message", "detail", "type", "code", "param", "object")}
    return Refusal(
        status,
        message if len(message) <= LONGEST_MESSAGE else message[:LONGEST_MESSAGE] + "…",
        kind,
        _code(code, kind, status, has_code="code" in fields),
        param if isinstance(param, str) else None,
        more,
        well_formed=right and isinstance(fields.get("type"), str),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _code(code: Any, kind: str, status: int, *, has_code: bool) -> str | None:
    """Returns a string or None, as OpenAI's clients expect. Uses OpenAI's own codes where clients look for them."""
    if kind == _OVERFLOW:
        return "context_length_exceeded"
    if isinstance(code, str) and not code.isdigit():
        return code
    return None if code is None and has_code else _CODES.get(status)
