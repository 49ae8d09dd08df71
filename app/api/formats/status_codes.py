"""Maps exceptions to status and headers. The only place where the core's errors meet HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app import errors
from app.errors import EngineUnavailableError, InvalidBodyError, RateLimitedError, RemoteMediaError, TandemError
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
    errors.UnauthorizedError: HttpError(401, "authentication_error", "invalid_api_key"),
    errors.ForbiddenError: HttpError(403, "permission_error", "forbidden"),
    errors.MisdirectedError: HttpError(421, "invalid_request_error", "wrong_host"),
    errors.PathNotFoundError: HttpError(404, "invalid_request_error", "not_found"),
    errors.RateLimitedError: HttpError(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.InvalidBodyError: HttpError(400, "invalid_request_error", "invalid_body"),
    errors.ModelRequiredError: HttpError(400, "invalid_request_error", "model_required", param="model"),
    errors.UnknownAliasError: HttpError(404, "invalid_request_error", "model_not_found", param="model"),
    errors.AttachedModelError: HttpError(400, "invalid_request_error", "attached_model", param="model"),
    errors.EntryRefusedError: HttpError(400, "invalid_request_error", "invalid_entry"),
    errors.ModelExistsError: HttpError(409, "invalid_request_error", "model_exists", param="alias"),
    errors.UnknownPullError: HttpError(404, "invalid_request_error", "pull_not_found"),
    errors.UnknownRequestError: HttpError(404, "invalid_request_error", "request_not_found"),
    errors.StoreError: HttpError(400, "invalid_request_error", "cannot_pull", param="name"),
    errors.ResponseNotFoundError: HttpError(404, "invalid_request_error", "response_not_found", param="response_id"),
    errors.PreviousResponseError: HttpError(
        400, "invalid_request_error", "previous_response_not_found", param="previous_response_id"
    ),
    errors.ReloadRefusedError: HttpError(400, "invalid_request_error", "invalid_settings"),
    errors.SlotActionRefusedError: HttpError(400, "invalid_request_error", "not_supported"),
    errors.LogprobsRefusedError: HttpError(
        400, "invalid_request_error", "logprobs_under_speculation", param="logprobs"
    ),
    errors.RemoteMediaRefusedError: HttpError(400, "invalid_request_error", "remote_media_refused", param="messages"),
    errors.RemoteMediaFailedError: HttpError(400, "invalid_request_error", "remote_media_failed", param="messages"),
    errors.BodyTooLargeError: HttpError(413, "invalid_request_error", "body_too_large"),
    errors.UnsupportedEncodingError: HttpError(415, "invalid_request_error", "unsupported_content_encoding"),
    errors.StartFailedError: HttpError(503, "server_error", "engine_start_failed"),
    # Of a start that was planned and not tried: nothing is wrong with the request
    errors.FilesMissingError: HttpError(503, "server_error", "files_missing", lasting=True),
    errors.GgufError: HttpError(503, "server_error", "unusable_file", lasting=True),
    errors.EngineNotFoundError: HttpError(503, "server_error", "engine_not_found", lasting=True),
    errors.ProbeError: HttpError(503, "server_error", "engine_unusable", lasting=True),
    errors.LaunchRefusedError: HttpError(503, "server_error", "launch_refused", lasting=True),
    errors.DownloadingError: HttpError(503, "server_error", "model_downloading"),
    errors.PullFailedError: HttpError(503, "server_error", "pull_failed"),
    errors.QueueFullError: HttpError(429, "rate_limit_error", "queue_full"),
    errors.NoRoomError: HttpError(503, "server_error", "no_room"),
    errors.InsufficientMemoryError: HttpError(503, "server_error", "insufficient_memory", lasting=True),
    errors.NoPortError: HttpError(503, "server_error", "no_port"),
    errors.HostLostError: HttpError(503, "server_error", "node_lost"),
    errors.NoNodeError: HttpError(503, "server_error", "no_node"),
    errors.NodeFailedError: HttpError(503, "server_error", "node_failed"),
    errors.EngineUnloadedError: HttpError(503, "server_error", "engine_unloaded"),
    errors.RequestCancelledError: HttpError(503, "server_error", "request_cancelled", lasting=True),
    errors.QueueTimeoutError: HttpError(503, "server_error", "queue_timeout"),
    errors.EngineLoadingError: HttpError(503, "server_error", "engine_loading"),
    errors.DeadlyRequestError: HttpError(503, "server_error", "request_kills_engine"),
    errors.ShuttingDownError: HttpError(503, "server_error", "shutting_down"),
    errors.UpstreamUnreachableError: HttpError(502, "server_error", "upstream_unreachable"),
    errors.UpstreamKeyRefusedError: HttpError(502, "server_error", "upstream_key_refused", lasting=True),
    errors.FormatIgnoredError: HttpError(502, "server_error", "format_ignored", lasting=True),
    errors.TokensUncountableError: HttpError(501, "not_supported_error", "not_supported", lasting=True),
    errors.UpstreamDiedError: HttpError(502, "server_error", "upstream_died"),
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
    if isinstance(error, RemoteMediaError) and error.param is not None:
        return replace(known, param=error.param)
    return known


def text(error: Exception) -> str:
    """Returns the message for the client."""
    return str(error) if isinstance(error, TandemError) else "Internal error of the gateway. Its log has the cause."
