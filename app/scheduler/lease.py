"""The lease: one request's hold on an engine."""

from __future__ import annotations

from collections.abc import Callable

from app.errors import TandemError
from app.supervisor.process import Engine


class Lease:
    """One request's hold on an engine, to the last byte. `release` is idempotent; `body` is the request's body."""

    __slots__ = ("_answered", "_release", "alias", "base_url", "body", "cut", "engine", "in_flight", "key")

    def __init__(
        self,
        alias: str,
        base_url: str,
        key: str,
        engine: Engine,
        release: Callable[[], None],
        *,
        body: bytes | None = None,
        answered: Callable[[], None],
        in_flight: int,
    ) -> None:
        self.alias = alias
        self.base_url = base_url
        self.key = key
        self.engine = engine
        self.body = body
        # Requests with the engine when this one began, itself included
        self.in_flight = in_flight
        # The reason, if the engine is ended before this request is answered
        self.cut: TandemError | None = None
        self._release: Callable[[], None] | None = release
        self._answered = answered

    def __repr__(self) -> str:
        return f"<Lease {self.alias}: {'held' if self._release else 'released'}>"

    def answered(self) -> None:
        """Reports that the engine has given a whole answer."""
        self._answered()

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()
