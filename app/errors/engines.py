"""Errors of engines: none can answer, or an answer ends too early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors.base import TandemError


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why an engine failed: a stable `code`, one line of cause, one of advice, the log's last lines.

    `permanent` says that the same launch plan would fail the same way again.
    """

    code: str
    cause: str
    advice: str
    permanent: bool
    log_tail: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.cause} {self.advice}".strip()


class EngineUnavailableError(TandemError):
    """No engine can answer for the alias now. `retry_after` is in seconds, or None if waiting does not help."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


# How a start that would fail the same way again is tried again
_NOT_AGAIN = (
    "It is retried when a file of its entry or its flags changes, or after `llama-tandem load {alias}` or "
    "`llama-tandem reset {alias}`."
)


class StartFailedError(EngineUnavailableError):
    """The engine of `alias` did not start, or crashed and may not restart yet."""

    def __init__(self, alias: str, diagnosis: Diagnosis, *, retry_after: float | None = None) -> None:
        self.alias = alias
        self.diagnosis = diagnosis
        final = f" {_NOT_AGAIN.format(alias=alias)}" if diagnosis.permanent and retry_after is None else ""
        super().__init__(f"The engine of '{alias}' cannot start: {diagnosis}{final}", retry_after=retry_after)


class DownloadingError(EngineUnavailableError):
    """The files of `alias` are being downloaded. `progress` has the fields of the progress."""

    def __init__(self, alias: str, words: str, progress: Mapping[str, Any], *, retry_after: float) -> None:
        self.alias = alias
        self.progress = dict(progress)
        super().__init__(f"The files of '{alias}' are still being downloaded ({words}).", retry_after=retry_after)


class PullFailedError(EngineUnavailableError):
    """The files of `alias` are missing, and the download failed."""

    def __init__(self, alias: str, reason: str, *, retry_after: float) -> None:
        self.alias = alias
        self.reason = reason
        super().__init__(f"The files of '{alias}' cannot be pulled: {reason}", retry_after=retry_after)


class QueueTimeoutError(EngineUnavailableError):
    """No place became free within `queue_timeout`."""


class QueueFullError(EngineUnavailableError):
    """The queue is full."""


class NoRoomError(EngineUnavailableError):
    """Pinned engines leave no place for the engine of `alias`. Waiting does not help."""

    def __init__(self, alias: str, why: str) -> None:
        self.alias = alias
        super().__init__(f"No room for '{alias}': {why}. Unpin a model, or raise max_loaded or memory.")


class InsufficientMemoryError(EngineUnavailableError):
    """The engine of `alias` needs more memory than there is. `figures` are the fields with the sizes."""

    def __init__(self, alias: str, words: str, figures: Mapping[str, Any]) -> None:
        self.alias = alias
        self.figures = dict(figures)
        super().__init__(f"Not enough memory for '{alias}': {words}")


class NoPortError(EngineUnavailableError):
    """No port is free for an engine."""


class HostLostError(EngineUnavailableError):
    """The machine of an engine does not answer any more. `reason` names it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The engine's machine is lost: {reason}.", retry_after=1)


class NoNodeError(EngineUnavailableError):
    """No node that the entry of `alias` names can run its engine now. `why` says why each cannot."""

    def __init__(self, alias: str, why: str) -> None:
        super().__init__(f"No node can run '{alias}': {why}.", retry_after=5)


class NodeFailedError(EngineUnavailableError):
    """The agent of a node has failed at a call, through no fault of the request."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"The agent of node {node} failed: {reason}")


class EngineUnloadedError(EngineUnavailableError):
    """An administrator unloaded the engine of a waiting or running request."""


class EngineLoadingError(EngineUnavailableError):
    """The engine of `alias` is still loading. `progress` has the fields of the progress."""

    def __init__(self, alias: str, words: str, progress: Mapping[str, Any], *, retry_after: float) -> None:
        self.alias = alias
        self.progress = dict(progress)
        super().__init__(f"The engine of '{alias}' is still loading ({words}).", retry_after=retry_after)


class DeadlyRequestError(EngineUnavailableError):
    """The engine of `alias` died twice in a row while it answered this request and no other."""

    def __init__(self, alias: str, diagnosis: Diagnosis | None, *, retry_after: float) -> None:
        self.diagnosis = diagnosis
        cause = f" The last time: {diagnosis.cause}" if diagnosis else ""
        super().__init__(
            f"The engine of '{alias}' died twice in a row while it answered this request and no other.{cause} This "
            f"request is refused for another {retry_after:.0f} s; others are served.",
            retry_after=retry_after,
        )


class ShuttingDownError(EngineUnavailableError):
    """The gateway is shutting down."""


class UpstreamError(TandemError):
    """The upstream failed through no fault of the client. `diagnosis` explains it for an engine of ours."""

    def __init__(self, message: str, diagnosis: Diagnosis | None = None) -> None:
        self.diagnosis = diagnosis
        super().__init__(message)


class UpstreamUnreachableError(UpstreamError):
    """No connection was possible, so nothing was sent."""


class UpstreamKeyRefusedError(UpstreamError):
    """An attached server at `host` refused the gateway. `key_sent` tells whether its entry has a key.

    Clients have keys of the gateway. With a plain 401 they would look for the mistake in their own key.
    """

    def __init__(self, alias: str, host: str, *, key_sent: bool) -> None:
        what = "rejects its key. Correct" if key_sent else "requires a key. Set"
        super().__init__(f"The server of '{alias}' at {host} {what} api_key in its entry of tandem.yaml.")


class TokensUncountableError(UpstreamError):
    """The model's server cannot count the tokens of a prompt."""


class FormatIgnoredError(UpstreamError):
    """The request asks for JSON, and the answer is not JSON: this server ignores formats."""

    def __init__(self, field: str) -> None:
        super().__init__(f"The model's answer is not JSON, although '{field}' requires it: its server ignores formats.")


class UpstreamDiedError(UpstreamError):
    """The connection ended before the answer."""
