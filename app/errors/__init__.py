"""The exceptions of llama-tandem; they know no HTTP and no terminal.

TandemError
├── ConfigError                   the settings or the catalog, as written, cannot be used
│   └── UnreadableKeysError       the API keys cannot be read
├── ReloadRefusedError            changed settings are invalid; the old ones stay
├── NotImportableError            a command line that cannot become an entry
├── GgufError                     a file is not a valid GGUF model
├── FilesMissingError             an entry names files that are not on disk
├── EngineNotFoundError           there is no llama-server to run
├── ProbeError                    a llama-server does not answer --help
├── LaunchRefusedError            this build does not support the entry
├── UnauthorizedError             no key, or an invalid one
├── ForbiddenError                a key that may not do this
├── MisdirectedError              a foreign Host header
├── PathNotFoundError             not at this port
├── RateLimitedError              a key has reached a limit
├── RecordsError                  the database in state_dir cannot be read or written
│   ├── NewerRecordsError         a later version of llama-tandem has written it
│   └── TableMismatchError        one of its tables has other columns
├── StoreError                    a model cannot be fetched, kept or removed
│   ├── HubError                  the Hub, or the way to it
│   │   ├── NotOnHubError
│   │   ├── AccessDeniedError     no token, a wrong one, or a licence that is not accepted
│   │   └── OfflineError          HF_HUB_OFFLINE is set
│   ├── DiskFullError
│   └── ChecksumMismatchError     what arrived is not what the Hub announced
├── RequestCancelledError         cancelled by an administrator
├── RequestError                  the client's fault
│   ├── InvalidBodyError
│   ├── BodyTooLargeError
│   ├── ModelRequiredError
│   ├── UnknownAliasError
│   ├── UnknownPullError
│   ├── UnknownRequestError       none that is being answered
│   ├── UnsupportedEncodingError  an unknown Content-Encoding
│   ├── AttachedModelError        others start and stop it
│   ├── EntryRefusedError         an entry for the gateway's memory that cannot be used
│   ├── ModelExistsError          its name is taken
│   ├── ResponseNotFoundError
│   ├── PreviousResponseError     a response that cannot be gone on from
│   ├── SlotActionRefusedError    the engine's saved slots are the gateway's own
│   ├── LogprobsRefusedError      speculation is on, and would make them wrong
│   ├── RemoteMediaRefusedError   media on a host that is not allowed
│   └── RemoteMediaFailedError    media that cannot be fetched
├── EngineUnavailableError        no engine can answer now
│   ├── StartFailedError          the start failed; has the diagnosis
│   ├── DownloadingError          its files are being downloaded
│   ├── PullFailedError           the download failed; has the reason
│   ├── QueueTimeoutError         no place became free in time
│   ├── QueueFullError            the queue is full
│   ├── NoRoomError               pinned engines hold the place
│   ├── InsufficientMemoryError   it does not fit, even alone
│   ├── EngineUnloadedError       by an administrator
│   ├── EngineLoadingError        it is still loading
│   ├── DeadlyRequestError        this request seems to crash the engine
│   └── ShuttingDownError
└── UpstreamError                 the upstream failed
    ├── UpstreamUnreachableError
    ├── UpstreamKeyRefusedError   it refused the entry's key
    ├── TokensUncountableError    it cannot count tokens
    ├── FormatIgnoredError        it answered with text instead of JSON
    └── UpstreamDiedError

Every message is one or two sentences for a user: what is wrong, and what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class TandemError(Exception):
    """The base class. Its text can be shown to a user."""

    def __init__(self, message: str) -> None:
        # A file name may contain invalid UTF-8 as lone surrogates, which JSON and the database reject.
        super().__init__(message.encode("utf-8", "replace").decode())


class ConfigError(TandemError):
    """`problems` are `<source>: <key>: <what is wrong, what would be right>`, with the line of the file below."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class UnreadableKeysError(ConfigError):
    """The API keys in the database cannot be read. `newer` means that a later version wrote it, maybe with keys."""

    def __init__(self, reason: str, *, newer: bool) -> None:
        self.newer = newer
        super().__init__([f"The API keys cannot be read: {reason}"])


class ReloadRefusedError(TandemError):
    """Settings that were read again cannot be used. The text has the problems."""


class NotImportableError(TandemError):
    """A command line of llama.cpp that `import` cannot turn into an entry; names the flag and its value."""


class GgufError(TandemError):
    """A file cannot be read as GGUF; `reason` says why, without the path, `code` as that of a Diagnosis."""

    def __init__(self, path: Path, reason: str, *, code: str = "not_gguf") -> None:
        self.path = path
        self.code = code
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class FilesMissingError(TandemError):
    """An entry's files are missing, all or some. `repo` tells that the Hub may have them.

    `advice` is the command that fetches them, or empty.
    """

    def __init__(
        self, message: str, *, advice: str = "Put them there, or correct the model's entry.", repo: bool = False
    ) -> None:
        self.advice = advice
        self.repo = repo
        super().__init__(message)


class EngineNotFoundError(TandemError):
    """There is no llama-server to run. The text says how to install one."""


class ProbeError(TandemError):
    """The binary did not print a usable `--help`."""


class LaunchRefusedError(TandemError):
    """A launch intent that this build of llama-server cannot express, or would refuse; `code` as of a Diagnosis."""

    def __init__(self, message: str, *, code: str = "refused") -> None:
        self.code = code
        super().__init__(message)


class UnauthorizedError(TandemError):
    """The client has no key, or one that is wrong, revoked or expired."""


class ForbiddenError(TandemError):
    """The client is known but may not do this. Never used for a model, since that would confirm its name."""


class MisdirectedError(TandemError):
    """The request's `Host` is not a name of this gateway. A web page may have sent a browser here."""


class PathNotFoundError(TandemError):
    """A path that another port serves. The text is that of a missing path."""


class RateLimitedError(TandemError):
    """`limit` is the one that was hit (rpm, tpm, concurrency), `retry_after` in seconds."""

    def __init__(self, key: str, limit: str, words: str, retry_after: int) -> None:
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(f"Rate limit exceeded for key '{key}': {words} ({limit}). Retry in {retry_after} s.")


class RecordsError(TandemError):
    """The records cannot be read or written; the text says why and what to do."""


class NewerRecordsError(RecordsError):
    """The file has `version`. This build knows versions up to `known`."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(
            f"cannot use {path}: it has version {version}, and this llama-tandem knows versions up to {known}. "
            "Update llama-tandem, or move the file away to start with an empty one."
        )


class TableMismatchError(RecordsError):
    """The text names the table and the remedy."""


class StoreError(TandemError):
    """A model's files cannot be fetched, kept or removed."""


class HubError(StoreError):
    """The Hub does not answer, or answers with an error; what was received so far is kept."""


class NotOnHubError(HubError):
    """The repo, revision or file does not exist on the Hub."""


class AccessDeniedError(HubError):
    """The text says which token or licence page is missing."""


class OfflineError(HubError):
    """HF_HUB_OFFLINE is set, so the Hub is not asked."""


class DiskFullError(StoreError):
    """The disk has no room. The bytes received so far are kept."""


class ChecksumMismatchError(StoreError):
    """A size or a checksum differs from what the Hub announced."""


class RequestError(TandemError):
    """What the client sent cannot be served."""


class InvalidBodyError(RequestError):
    """Not JSON, empty, or not an object; `param` is the field that is wrong, if it is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


class BodyTooLargeError(RequestError):
    """The body exceeds `max_body_mb`."""


class UnsupportedEncodingError(RequestError):
    """The gateway cannot decode this Content-Encoding."""


class ModelRequiredError(RequestError):
    """No `model`, and more than one to choose from."""


class UnknownAliasError(RequestError):
    """`alias` is not in the catalog; `known` are the names that are."""

    def __init__(self, alias: str, known: Sequence[str]) -> None:
        self.alias = alias
        self.known = tuple(known)
        names = ", ".join(f"'{name}'" for name in known) or "none"
        super().__init__(f"Model '{alias}' not found. Available models: {names}.")


class UnknownPullError(RequestError):
    """There is no pull with this id, or it ended long ago."""


class AttachedModelError(RequestError):
    """Only engines of this gateway can do this, and the model is on another server."""


class EntryRefusedError(RequestError):
    """An entry for a temporary model cannot be used. Nothing has changed."""


class ModelExistsError(RequestError):
    """A new model's name is already a name, an alias, a preset or a variant."""

    def __init__(self, alias: str, owner: str) -> None:
        of = "" if owner == alias else f", as a name of '{owner}'"
        super().__init__(f"There is a model '{alias}' already{of}. Choose another name.")


class ResponseNotFoundError(RequestError):
    """No response with this id is stored for this key."""


class PreviousResponseError(RequestError):
    """The conversation that a request continues is not stored here."""


class SlotActionRefusedError(RequestError):
    """The engine's slots are saved by the gateway only."""


class LogprobsRefusedError(RequestError):
    """The engine speculates, and would report wrong log probabilities."""


class RemoteMediaRefusedError(RequestError):
    """A request names media on a host that the gateway does not fetch from."""


class RemoteMediaFailedError(RequestError):
    """The media at a URL cannot be fetched, or are no media."""


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


# The way to repeat a start after a permanent failure
_NOT_AGAIN = (
    "It is tried again once a file that its entry or its flags name has changed, or by `llama-tandem load {alias}` or "
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
        super().__init__(f"The files of '{alias}' are not here yet ({words}).", retry_after=retry_after)


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
        super().__init__(
            f"There is no room for '{alias}': {why}. Unpin one, or let more be loaded (max_loaded, memory)."
        )


class InsufficientMemoryError(EngineUnavailableError):
    """The engine of `alias` needs more memory than there is. `figures` are the fields with the sizes."""

    def __init__(self, alias: str, words: str, figures: Mapping[str, Any]) -> None:
        self.alias = alias
        self.figures = dict(figures)
        super().__init__(f"The memory is not enough for '{alias}': {words}")


class EngineUnloadedError(EngineUnavailableError):
    """An administrator unloaded the engine of a waiting or running request."""


class RequestCancelledError(TandemError):
    """An administrator cancelled a running request."""


class UnknownRequestError(TandemError):
    """There is no such running request."""


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
        what = "does not accept the key that it is sent. Correct" if key_sent else "asks for a key. Set"
        super().__init__(f"The server of '{alias}' at {host} {what} api_key in its entry of tandem.yaml.")


class TokensUncountableError(UpstreamError):
    """The model's server cannot count the tokens of a prompt."""


class FormatIgnoredError(UpstreamError):
    """The request asks for JSON, and the answer is not JSON: this server ignores formats."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"The model's answer is no JSON, though '{field}' asks for it: its server does not keep to formats."
        )


class UpstreamDiedError(UpstreamError):
    """The connection ended before the answer."""
