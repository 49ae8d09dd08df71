"""One request's hold on an upstream."""

from __future__ import annotations

from collections.abc import Callable

from app.errors import Diagnosis, TandemError
from app.supervisor.process import Engine


class Lease:
    """One request's hold on an upstream, to the last byte. `release` is idempotent; `body` is what was asked."""

    __slots__ = ("_answered", "_release", "alias", "base_url", "body", "cut", "engine", "in_flight", "key")

    def __init__(
        self,
        alias: str,
        base_url: str,
        key: str | None,
        engine: Engine | None,
        release: Callable[[], None],
        *,
        body: bytes | None = None,
        answered: Callable[[], None] | None = None,
        in_flight: int | None = None,
    ) -> None:
        self.alias = alias
        self.base_url = base_url
        self.key = key
        # None for an attached server, which others look after
        self.engine = engine
        self.body = body
        # Requests with the engine when this one came to it, itself included; None for an attached server
        self.in_flight = in_flight
        # Why the engine is being ended under this request
        self.cut: TandemError | None = None
        self._release: Callable[[], None] | None = release
        self._answered = answered

    def __repr__(self) -> str:
        return f"<Lease {self.alias}: {'held' if self._release else 'released'}>"

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def answered(self) -> None:
        """The upstream has given a whole answer."""
        if self._answered is not None:
            self._answered()

    async def post_mortem(self) -> Diagnosis | None:
        """Why the upstream broke off, if it is an engine of ours that has died."""
        return await self.engine.post_mortem(self.key) if self.engine else None
