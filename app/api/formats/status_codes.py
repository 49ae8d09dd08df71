"""Maps exceptions to status and headers. The only place where the core's errors meet HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app.errors import (
    AttachedModelError,
    BodyTooLargeError,
    DeadlyRequestError,
    DownloadingError,
    EngineLoadingError,
    EngineNotFoundError,
    EngineUnavailableError,
    EngineUnloadedError,
    EntryRefusedError,
    FilesMissingError,
    ForbiddenError,
    FormatIgnoredError,
    GgufError,
    HostLostError,
    InsufficientMemoryError,
    InvalidBodyError,
    LaunchRefusedError,
    LogprobsRefusedError,
    MisdirectedError,
    ModelExistsError,
    ModelRequiredError,
    NoPortError,
    NoRoomError,
    PathNotFoundError,
    PreviousResponseError,
    ProbeError,
    PullFailedError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitedError,
    ReloadRefusedError,
    RemoteMediaFailedError,
    RemoteMediaRefusedError,
    RequestCancelledError,
    ResponseNotFoundError,
    ShuttingDownError,
    SlotActionRefusedError,
    StartFailedError,
    StoreError,
    TandemError,
    TokensUncountableError,
    UnauthorizedError,
    UnknownAliasError,
    UnknownPullError,
    UnknownRequestError,
    UnsupportedEncodingError,
    UpstreamDiedError,
    UpstreamKeyRefusedError,
    UpstreamUnreachableError,
)
from app.relay.headers import LONGEST_RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class HttpError:
    """An error as every API format needs it. `kind` and `code` are OpenAI's `type` and `code`.

    `lasting` means that a retry would fail the same way, whatever the status suggests.
    """

    status: int
    kind: str
    code: str
    param: str | None = None
    retry_after: int | None = None
    lasting: bool = False


_BY_CLASS: dict[type[TandemError], HttpError] = {
    UnauthorizedError: HttpError(401, "authentication_error", "invalid_api_key"),
    ForbiddenError: HttpError(403, "permission_error", "forbidden"),
    MisdirectedError: HttpError(421, "invalid_request_error", "wrong_host"),
    PathNotFoundError: HttpError(404, "invalid_request_error", "not_found"),
    RateLimitedError: HttpError(429, "rate_limit_error", "rate_limit_exceeded"),
    InvalidBodyError: HttpError(400, "invalid_request_error", "invalid_body"),
    ModelRequiredError: HttpError(400, "invalid_request_error", "model_required", param="model"),
    UnknownAliasError: HttpError(404, "invalid_request_error", "model_not_found", param="model"),
    AttachedModelError: HttpError(400, "invalid_request_error", "attached_model", param="model"),
    EntryRefusedError: HttpError(400, "invalid_request_error", "invalid_entry"),
    ModelExistsError: HttpError(409, "invalid_request_error", "model_exists", param="alias"),
    UnknownPullError: HttpError(404, "invalid_request_error", "pull_not_found"),
    UnknownRequestError: HttpError(404, "invalid_request_error", "request_not_found"),
    StoreError: HttpError(400, "invalid_request_error", "cannot_pull", param="name"),
    ResponseNotFoundError: HttpError(404, "invalid_request_error", "response_not_found", param="response_id"),
    PreviousResponseError: HttpError(
        400, "invalid_request_error", "previous_response_not_found", param="previous_response_id"
    ),
    ReloadRefusedError: HttpError(400, "invalid_request_error", "invalid_settings"),
    SlotActionRefusedError: HttpError(400, "invalid_request_error", "not_supported"),
    LogprobsRefusedError: HttpError(400, "invalid_request_error", "logprobs_under_speculation", param="logprobs"),
    RemoteMediaRefusedError: HttpError(400, "invalid_request_error", "remote_media_refused", param="messages"),
    RemoteMediaFailedError: HttpError(400, "invalid_request_error", "remote_media_failed", param="messages"),
    BodyTooLargeError: HttpError(413, "invalid_request_error", "body_too_large"),
    UnsupportedEncodingError: HttpError(415, "invalid_request_error", "unsupported_content_encoding"),
    StartFailedError: HttpError(503, "server_error", "engine_start_failed"),
    # A start was only planned: nothing is wrong with the request
    FilesMissingError: HttpError(503, "server_error", "files_missing", lasting=True),
    GgufError: HttpError(503, "server_error", "unusable_file", lasting=True),
    EngineNotFoundError: HttpError(503, "server_error", "engine_not_found", lasting=True),
    ProbeError: HttpError(503, "server_error", "engine_unusable", lasting=True),
    LaunchRefusedError: HttpError(503, "server_error", "launch_refused", lasting=True),
    DownloadingError: HttpError(503, "server_error", "model_downloading"),
    PullFailedError: HttpError(503, "server_error", "pull_failed"),
    QueueFullError: HttpError(429, "rate_limit_error", "queue_full"),
    NoRoomError: HttpError(503, "server_error", "no_room"),
    InsufficientMemoryError: HttpError(503, "server_error", "insufficient_memory", lasting=True),
    NoPortError: HttpError(503, "server_error", "no_port"),
    HostLostError: HttpError(503, "server_error", "node_lost"),
    EngineUnloadedError: HttpError(503, "server_error", "engine_unloaded"),
    RequestCancelledError: HttpError(503, "server_error", "request_cancelled", lasting=True),
    QueueTimeoutError: HttpError(503, "server_error", "queue_timeout"),
    EngineLoadingError: HttpError(503, "server_error", "engine_loading"),
    DeadlyRequestError: HttpError(503, "server_error", "request_kills_engine"),
    ShuttingDownError: HttpError(503, "server_error", "shutting_down"),
    UpstreamUnreachableError: HttpError(502, "server_error", "upstream_unreachable"),
    UpstreamKeyRefusedError: HttpError(502, "server_error", "upstream_key_refused", lasting=True),
    FormatIgnoredError: HttpError(502, "server_error", "format_ignored", lasting=True),
    TokensUncountableError: HttpError(501, "not_supported_error", "not_supported", lasting=True),
    UpstreamDiedError: HttpError(502, "server_error", "upstream_died"),
}
_UNFORESEEN = HttpError(500, "server_error", "internal_error")


def http_error(error: Exception) -> HttpError:
    """Returns status and headers of an error. An unexpected error becomes a 500 without internal details."""
    known = next((_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS), _UNFORESEEN)
    if isinstance(error, EngineUnavailableError | RateLimitedError) and error.retry_after is not None:
        seconds = min(max(1, math.ceil(error.retry_after)), LONGEST_RETRY_AFTER_S)
        return replace(known, retry_after=seconds)
    if isinstance(error, InvalidBodyError):
        return replace(known, param=error.param)
    return known


def text(error: Exception) -> str:
    """Returns the message for the client."""
    return str(error) if isinstance(error, TandemError) else "Internal error of the gateway. Its log has the cause."
