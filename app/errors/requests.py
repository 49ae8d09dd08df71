"""Errors in requests, and in what they name."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.base import TandemError


class RequestError(TandemError):
    """The client's request is wrong."""


class InvalidBodyError(RequestError):
    """The body is not JSON, empty or not an object, or a field is wrong: `param` names it."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


class BodyTooLargeError(RequestError):
    """The body exceeds `max_body_mb`, or has to be edited and exceeds `max_edit_mb`."""


class BodyEditError(TandemError):
    """The process that edits large bodies failed."""


class UnsupportedEncodingError(RequestError):
    """The gateway cannot decode this Content-Encoding."""


class ModelRequiredError(RequestError):
    """No `model`, and more than one to choose from."""


class UnknownAliasError(RequestError):
    """`alias` is not in the catalog. `known` are the names that are, `meant` is the most similar one."""

    def __init__(self, alias: str, known: Sequence[str], meant: str | None = None) -> None:
        self.alias = alias
        self.known = tuple(known)
        names = ", ".join(f"'{name}'" for name in known) or "none"
        hint = f" Did you mean '{meant}'?" if meant is not None else ""
        super().__init__(f"Model '{alias}' not found.{hint} Available models: {names}.")


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
        super().__init__(f"Model '{alias}' exists already{of}. Choose another name.")


class ResponseNotFoundError(RequestError):
    """No response with this id is stored for this key."""


class PreviousResponseError(RequestError):
    """The conversation that a request continues is not stored here."""


class SlotActionRefusedError(RequestError):
    """The engine's slots are saved by the gateway only."""


class LogprobsRefusedError(RequestError):
    """The engine speculates, and would report wrong log probabilities."""


class RemoteMediaError(RequestError):
    """Remote media that the request does not get. `param` is the place of the URL, if it is known."""

    param: str | None = None


class RemoteMediaRefusedError(RemoteMediaError):
    """A request names media on a host that the gateway does not fetch from."""


class RemoteMediaFailedError(RemoteMediaError):
    """The media at a URL cannot be fetched, or are no media."""


class RequestCancelledError(TandemError):
    """An administrator cancelled a running request."""


class UnknownRequestError(TandemError):
    """There is no such running request."""
