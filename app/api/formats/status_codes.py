"""Exceptions -> status and headers; the one place where the core's errors meet HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app.errors import (
    BodyTooLarge,
    Downloading,
    EngineUnavailable,
    Forbidden,
    InvalidBody,
    LogprobsRefused,
    Misdirected,
    ModelRequired,
    NotHere,
    PullFailed,
    QueueTimeout,
    RateLimited,
    RemoteMediaFailed,
    RemoteMediaRefused,
    ShuttingDown,
    StartFailed,
    StoreError,
    TandemError,
    Unauthorized,
    UnknownAlias,
    UnknownPull,
    UpstreamDied,
    UpstreamKeyRefused,
    UpstreamUnreachable,
)
from app.relay.patience import LONGEST_RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class HttpError:
    """An error as every surface needs it: `kind` and `code` are OpenAI's `type` and `code`.

    `lasting` says that trying again would end the same way, whatever the status lets one think.
    """

    status: int
    kind: str
    code: str
    param: str | None = None
    retry_after: int | None = None
    lasting: bool = False


_BY_CLASS: dict[type[TandemError], HttpError] = {
    Unauthorized: HttpError(401, "authentication_error", "invalid_api_key"),
    Forbidden: HttpError(403, "permission_error", "forbidden"),
    Misdirected: HttpError(421, "invalid_request_error", "wrong_host"),
    NotHere: HttpError(404, "invalid_request_error", "not_found"),
    RateLimited: HttpError(429, "rate_limit_error", "rate_limit_exceeded"),
    InvalidBody: HttpError(400, "invalid_request_error", "invalid_body"),
    ModelRequired: HttpError(400, "invalid_request_error", "model_required", param="model"),
    UnknownAlias: HttpError(404, "invalid_request_error", "model_not_found", param="model"),
    UnknownPull: HttpError(404, "invalid_request_error", "pull_not_found"),
    StoreError: HttpError(400, "invalid_request_error", "cannot_pull", param="name"),
    LogprobsRefused: HttpError(400, "invalid_request_error", "logprobs_under_speculation", param="logprobs"),
    RemoteMediaRefused: HttpError(400, "invalid_request_error", "remote_media_refused", param="messages"),
    RemoteMediaFailed: HttpError(400, "invalid_request_error", "remote_media_failed", param="messages"),
    BodyTooLarge: HttpError(413, "invalid_request_error", "body_too_large"),
    StartFailed: HttpError(503, "server_error", "engine_start_failed"),
    Downloading: HttpError(503, "server_error", "model_downloading"),
    PullFailed: HttpError(503, "server_error", "pull_failed"),
    QueueTimeout: HttpError(503, "server_error", "queue_timeout"),
    ShuttingDown: HttpError(503, "server_error", "shutting_down"),
    UpstreamUnreachable: HttpError(502, "server_error", "upstream_unreachable"),
    UpstreamKeyRefused: HttpError(502, "server_error", "upstream_key_refused", lasting=True),
    UpstreamDied: HttpError(502, "server_error", "upstream_died"),
}
_UNFORESEEN = HttpError(500, "server_error", "internal_error")


def http_error(error: Exception) -> HttpError:
    """The status and its companions; an error nobody foresaw is a 500 that tells nothing of our insides."""
    found = next((_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS), _UNFORESEEN)
    if isinstance(error, EngineUnavailable | RateLimited) and error.retry_after is not None:
        seconds = min(max(1, math.ceil(error.retry_after)), LONGEST_RETRY_AFTER_S)
        return replace(found, retry_after=seconds)
    if isinstance(error, InvalidBody):
        return replace(found, param=error.param)
    return found


def text(error: Exception) -> str:
    """What the client is told."""
    return str(error) if isinstance(error, TandemError) else "The gateway failed; its log says why."
