"""Errors of access: keys, hosts, ports and limits."""

from __future__ import annotations

from app.errors.base import TandemError


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
