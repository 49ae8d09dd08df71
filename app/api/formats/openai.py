"""Formats errors for OpenAI's clients: `{"error": {message, type, param, code}}`.

`code` is a string, `param` always present.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.formats.status_codes import HttpError, http_error, text
from app.api.formats.upstream_errors import Refusal, read
from app.api.paths import hint
from app.errors import (
    DeadlyRequestError,
    DownloadingError,
    EngineLoadingError,
    InsufficientMemoryError,
    RateLimitedError,
    StartFailedError,
    UpstreamError,
)
from app.relay.api_format import ErrorResponse
from app.relay.headers import Headers, of_request_id
from app.relay.request.content_encoding import TAKEN

JSON = b"application/json"


def error_body(message: str, error: HttpError, **more: Any) -> bytes:
    """Returns the JSON body. Additional fields follow OpenAI's four, where SDKs keep them."""
    fields = {"message": message, "type": error.kind, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": fields | more})


def error_headers(error: HttpError, request_id: str, length: int, names: tuple[bytes, ...] = ()) -> Headers:
    """Returns the headers of an error response. `names` are those of the request id, by default `x-request-id`."""
    headers = [
        (b"content-type", JSON),
        (b"content-length", str(length).encode()),
        *of_request_id(names or (b"x-request-id",), request_id),
    ]
    if error.status == 415:
        headers.append((b"accept-encoding", TAKEN.encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    elif error.status == 503 or error.lasting:
        # OpenAI's SDKs retry every 500 and above, but this error is permanent.
        headers.append((b"x-should-retry", b"false"))
    return headers


def no_such_route(method: str, path: str, status: int, headers: Any = None) -> tuple[HttpError, str]:
    """Returns the error for an unknown path (404) or method (405)."""
    if status == 405:
        allowed = (headers or {}).get("Allow") or (headers or {}).get("allow", "")
        message, code = f"{path} does not allow {method}. Allowed: {allowed}.", "method_not_allowed"
    else:
        message, code = f"Not found: {method} {path}.{hint(path)}", "not_found"
    return HttpError(status, "invalid_request_error", code), message


_FAILED = (StartFailedError, DeadlyRequestError, UpstreamError)


def more_of(error: Exception) -> dict[str, Any]:
    """Returns the additional fields of an error: of a failed engine, a limit, or a running download."""
    if isinstance(error, RateLimitedError):
        return {"limit": error.limit}
    if isinstance(error, DownloadingError):
        return {"state": "downloading", **error.progress}
    if isinstance(error, EngineLoadingError):
        return {"state": "starting", "loading": error.progress}
    if isinstance(error, InsufficientMemoryError):
        return error.figures
    diagnosis = error.diagnosis if isinstance(error, _FAILED) else None
    if diagnosis is None:
        return {}
    return {"cause": diagnosis.code, "advice": diagnosis.advice, "log": list(diagnosis.log_tail)}


class OpenAIFormat:
    """The format for OpenAI's clients and for llama-server's own endpoints, whose errors are similar."""

    id_names: tuple[bytes, ...] = (b"x-request-id",)

    def error(self, error: Exception, *, request_id: str) -> ErrorResponse:
        known = http_error(error)
        body = self.body(text(error), known, **more_of(error))
        return ErrorResponse(known.status, body, error_headers(known, request_id, len(body), self.id_names))

    def error_event(self, error: Exception) -> bytes:
        return self.event(self.body(text(error), http_error(error), **more_of(error)))

    def upstream_error(self, status: int, body: bytes, request: bytes | None = None) -> tuple[int, bytes]:
        """Returns llama-server's error with its own text, where it concerns the client, and OpenAI's code for its
        number."""
        refusal = read(status, body, request)
        return refusal.status, self.refused(refusal, body)

    def upstream_error_event(self, status: int, body: bytes, request: bytes | None = None) -> bytes:
        return self.event(self.refused(read(status, body, request), b""))

    def comment(self, text: str) -> bytes:
        return b": " + text.encode() + b"\n\n"

    def body(self, message: str, error: HttpError, **more: Any) -> bytes:
        """Returns the body of our own error."""
        return error_body(message, error, **more)

    def refused(self, refusal: Refusal, body: bytes) -> bytes:
        """Returns the body of the upstream's error. `body` is what it sent, or None if it cannot pass unchanged."""
        if refusal.well_formed and body:
            return body
        fields = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}
        return msgspec.json.encode({"error": fields | refusal.more})

    def event(self, body: bytes) -> bytes:
        """Returns a server-sent event."""
        return b"data: " + body + b"\n\n"


class ResponsesFormat(OpenAIFormat):
    """For `/v1/responses`: events have names, and `data` has a `type`. SDKs look for the nested error."""

    def event(self, body: bytes) -> bytes:
        error = msgspec.json.decode(body)["error"]
        flat = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        return b"event: error\ndata: " + msgspec.json.encode(flat | {"error": error}) + b"\n\n"
