"""The exceptions of llama-tandem; they know no HTTP and no terminal.

TandemError
├── ConfigError                   the settings or the catalog, as written, cannot be used
│   └── UnreadableKeysError       nobody knows who may come in
├── ReloadRefusedError            changed settings that cannot be applied; those that run stay
├── NotImportableError            a command line that makes no entry of the catalog
├── GgufError                     a model file is not what its name says
├── FilesMissingError             an entry names files that are not on disk
├── EngineNotFoundError           there is no llama-server to run
├── ProbeError                    a llama-server is there, and does not answer --help
├── LaunchRefusedError            this build cannot do what the entry asks for
├── UnauthorizedError             no key, or none that is known
├── ForbiddenError                a key that may not do this
├── MisdirectedError              called by a name that is not this gateway's
├── PathNotFoundError             not at this port
├── RateLimitedError              a key that has had what it may have for now
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
├── RequestCancelledError         an administrator has ended it
├── RequestError                  the client's fault
│   ├── InvalidBodyError
│   ├── BodyTooLargeError
│   ├── UnsupportedEncodingError  of a body
│   ├── ModelRequiredError
│   ├── UnknownAliasError
│   ├── UnknownPullError
│   ├── UnknownRequestError       none that is being answered
│   ├── UnsupportedEncodingError  a Content-Encoding that nobody here decodes
│   ├── AttachedModelError        others start and stop it
│   ├── EntryRefusedError         an entry for the gateway's memory that cannot be used
│   ├── ModelExistsError          its name is taken
│   ├── ResponseNotFoundError
│   ├── PreviousResponseError     a response that cannot be gone on from
│   ├── SlotActionRefusedError    the engine's saved slots are the gateway's own
│   ├── LogprobsRefusedError      speculation is on, and would make them wrong
│   ├── RemoteMediaRefusedError   an image of a host that nobody has allowed
│   └── RemoteMediaFailedError    it is allowed, and cannot be had
├── EngineUnavailableError        no engine can answer now
│   ├── StartFailedError          it did not come up: carries the diagnosis
│   ├── DownloadingError          its files are on their way
│   ├── PullFailedError           its files could not be had: carries the reason
│   ├── QueueTimeoutError         others hold the places
│   ├── QueueFullError            too many wait already
│   ├── NoRoomError               what is in the way is pinned
│   ├── InsufficientMemoryError   it would not fit if it were alone
│   ├── EngineUnloadedError       by an administrator
│   ├── EngineLoadingError        it is on its way up
│   ├── DeadlyRequestError        this request seems to be what kills the engine
│   └── ShuttingDownError
└── UpstreamError                 the server behind us did not do its part
    ├── UpstreamUnreachableError
    ├── UpstreamKeyRefusedError   it does not let the gateway in
    ├── TokensUncountableError    it counts no tokens
    ├── FormatIgnoredError        it was asked for JSON, and answered in prose
    └── UpstreamDiedError

Every message is one or two sentences for a person: what is wrong, and what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class TandemError(Exception):
    """The root: its text is fit to be shown to a user as it is."""

    def __init__(self, message: str) -> None:
        # The name of a file may be bytes that are no text: as lone surrogates no JSON and no database would take it.
        super().__init__(message.encode("utf-8", "replace").decode())


class ConfigError(TandemError):
    """`problems` are `<source>: <key>: <what is wrong, what would be right>`, with the line of a file below."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class UnreadableKeysError(ConfigError):
    """The database's API keys cannot be read. `newer`: a later version has written it, and there may be keys in it."""

    def __init__(self, reason: str, *, newer: bool) -> None:
        self.newer = newer
        super().__init__([f"The API keys cannot be read: {reason}"])


class ReloadRefusedError(TandemError):
    """The settings were read again and cannot be used; the text is that of what is wrong with them."""


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
    """An entry's files are not, or not all, where they should be; `repo`: the Hub may have them.

    `advice` says what brings them, empty where the message does.
    """

    def __init__(
        self, message: str, *, advice: str = "Put them there, or correct the model's entry.", repo: bool = False
    ) -> None:
        self.advice = advice
        self.repo = repo
        super().__init__(message)


class EngineNotFoundError(TandemError):
    """No llama-server to run; the text says how to get one."""


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
    """The client is known, and may not have what it asks for; never said of a model, whose name it would confirm."""


class MisdirectedError(TandemError):
    """A request by a name that this gateway does not know as its own: a browser may have been led here."""


class PathNotFoundError(TandemError):
    """Something that another port serves; in the words for what does not exist."""


class RateLimitedError(TandemError):
    """`limit` is the one that was hit (rpm, tpm, concurrency), `retry_after` in seconds."""

    def __init__(self, key: str, limit: str, words: str, retry_after: int) -> None:
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(f"Rate limit exceeded for key '{key}': {words} ({limit}). Retry in {retry_after} s.")


class RecordsError(TandemError):
    """The records cannot be read or written; the text says why and what to do."""


class NewerRecordsError(RecordsError):
    """A file of `version`, where this build knows those up to `known`."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(
            f"cannot use {path}: it has version {version}, and this llama-tandem knows versions up to {known}. "
            "Update llama-tandem, or move the file away to begin anew."
        )


class TableMismatchError(RecordsError):
    """The text names the table, and what to do with it."""


class StoreError(TandemError):
    """A model's files cannot be fetched, kept or removed."""


class HubError(StoreError):
    """The Hub does not answer, or answers with an error; what was received so far is kept."""


class NotOnHubError(HubError):
    """No such repo, revision or file there."""


class AccessDeniedError(HubError):
    """The text says which token or licence page is missing."""


class OfflineError(HubError):
    """HF_HUB_OFFLINE is set, so nothing is asked."""


class DiskFullError(StoreError):
    """No room for what is to come; what was received so far is kept."""


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
    """Over `max_body_mb`."""


class UnsupportedEncodingError(RequestError):
    """A Content-Encoding that is not read here."""


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
    """No pull of this id, or of so long ago that it is forgotten."""


class AttachedModelError(RequestError):
    """What was asked for is done to engines of this gateway, and this model is on another server."""


class EntryRefusedError(RequestError):
    """What a model's entry in the gateway's memory is to be cannot be had; nothing has changed."""


class ModelExistsError(RequestError):
    """A new model's name is another's, or an alias, a preset or a variant of it."""

    def __init__(self, alias: str, owner: str) -> None:
        of = "" if owner == alias else f", as a name of '{owner}'"
        super().__init__(f"There is a model '{alias}' already{of}. Choose another name.")


class ResponseNotFoundError(RequestError):
    """No response of this id is kept for this key."""


class PreviousResponseError(RequestError):
    """The conversation that a request goes on from is not kept here."""


class SlotActionRefusedError(RequestError):
    """The engine saves its slots for the gateway alone."""


class LogprobsRefusedError(RequestError):
    """The engine that would answer speculates, and reports wrong log probabilities under it."""


class RemoteMediaRefusedError(RequestError):
    """A request names media at an address that this gateway does not fetch from."""


class RemoteMediaFailedError(RequestError):
    """The media at an address cannot be had, or are none."""


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
    """Nothing can answer for the alias now; `retry_after` is in seconds, None if waiting will not help."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


# How a start that would fail the same way again is tried again
_NOT_AGAIN = (
    "It is tried again once a file that its entry or its flags name has changed, or by `llama-tandem load {alias}` or "
    "`llama-tandem reset {alias}`."
)


class StartFailedError(EngineUnavailableError):
    """The engine of `alias` did not come up, or went down and may not be started yet."""

    def __init__(self, alias: str, diagnosis: Diagnosis, *, retry_after: float | None = None) -> None:
        self.alias = alias
        self.diagnosis = diagnosis
        final = f" {_NOT_AGAIN.format(alias=alias)}" if diagnosis.permanent and retry_after is None else ""
        super().__init__(f"The engine of '{alias}' cannot start: {diagnosis}{final}", retry_after=retry_after)


class DownloadingError(EngineUnavailableError):
    """The files of `alias` are being pulled; `progress` are the fields that say how far that is."""

    def __init__(self, alias: str, words: str, progress: Mapping[str, Any], *, retry_after: float) -> None:
        self.alias = alias
        self.progress = dict(progress)
        super().__init__(f"The files of '{alias}' are not here yet ({words}).", retry_after=retry_after)


class PullFailedError(EngineUnavailableError):
    """The files of `alias` are not here, and pulling them failed."""

    def __init__(self, alias: str, reason: str, *, retry_after: float) -> None:
        self.alias = alias
        self.reason = reason
        super().__init__(f"The files of '{alias}' cannot be pulled: {reason}", retry_after=retry_after)


class QueueTimeoutError(EngineUnavailableError):
    """No place came free within `queue_timeout`."""


class QueueFullError(EngineUnavailableError):
    """As many requests wait as may."""


class NoRoomError(EngineUnavailableError):
    """The engine of `alias` cannot come up beside those that are pinned; waiting does not help."""

    def __init__(self, alias: str, why: str) -> None:
        self.alias = alias
        super().__init__(
            f"There is no room for '{alias}': {why}. Unpin one, or let more be loaded (max_loaded, memory)."
        )


class InsufficientMemoryError(EngineUnavailableError):
    """The engine of `alias` takes more memory than there is for all; `figures` are the fields that say how much."""

    def __init__(self, alias: str, words: str, figures: Mapping[str, Any]) -> None:
        self.alias = alias
        self.figures = dict(figures)
        super().__init__(f"The memory is not enough for '{alias}': {words}")


class EngineUnloadedError(EngineUnavailableError):
    """An administrator has unloaded what the request waited for, or was answered by."""


class RequestCancelledError(TandemError):
    """An administrator has ended a request while it was answered."""


class UnknownRequestError(TandemError):
    """No such request is being answered."""


class EngineLoadingError(EngineUnavailableError):
    """The engine of `alias` is not up yet; `progress` are the fields that say how far it is."""

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
    """The gateway is on its way out."""


class UpstreamError(TandemError):
    """The server behind us failed, by no fault of the client's; `diagnosis` says why, of an engine of ours."""

    def __init__(self, message: str, diagnosis: Diagnosis | None = None) -> None:
        self.diagnosis = diagnosis
        super().__init__(message)


class UpstreamUnreachableError(UpstreamError):
    """No connection, so nothing was asked."""


class UpstreamKeyRefusedError(UpstreamError):
    """An attached server at `host` does not let the gateway in; `key_sent` says whether its entry has a key.

    Clients have keys of the gateway: told of a 401 as it is, each would look for the mistake in its own.
    """

    def __init__(self, alias: str, host: str, *, key_sent: bool) -> None:
        what = "does not accept the key that it is sent. Correct" if key_sent else "asks for a key. Set"
        super().__init__(f"The server of '{alias}' at {host} {what} api_key in its entry of tandem.yaml.")


class TokensUncountableError(UpstreamError):
    """The server of a model has no endpoint that counts the tokens of a prompt."""


class FormatIgnoredError(UpstreamError):
    """An answer that is no JSON, though the request asks for it: this server does not keep to formats."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"The model's answer is no JSON, though '{field}' asks for it: its server does not keep to formats."
        )


class UpstreamDiedError(UpstreamError):
    """The connection ended before the answer did."""
