"""The queue and the leases: applies `policy.decide` whenever something changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.errors import Diagnosis, QueueTimeoutError, ShuttingDownError, StartFailedError, TandemError
from app.scheduler.policy import PATIENCE_S, Drain, EngineView, Grant, Refuse, SchedulerSnapshot, Start, Wait, decide
from app.supervisor.process import Engine
from app.supervisor.readiness import refusal
from app.supervisor.states import EngineState


class Lease:
    """One request's hold on an upstream, to the last byte. `release` is idempotent."""

    __slots__ = ("_release", "alias", "base_url", "engine", "key")

    def __init__(
        self, alias: str, base_url: str, key: str | None, engine: Engine | None, release: Callable[[], None]
    ) -> None:
        self.alias = alias
        self.base_url = base_url
        self.key = key
        # None for an attached server, which others look after
        self.engine = engine
        self._release: Callable[[], None] | None = release

    def __repr__(self) -> str:
        return f"<Lease {self.alias}: {'held' if self._release else 'released'}>"

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    async def post_mortem(self) -> Diagnosis | None:
        """Why the upstream broke off, if it is an engine of ours that has died."""
        return await self.engine.post_mortem() if self.engine else None


@dataclass(slots=True)
class EngineUse:
    """One alias's engine and its use."""

    engine: Engine
    in_flight: int = 0
    last_used: float = 0.0
    # Where a verb that the engine has not taken up yet will lead; without it two decisions in one turn of the
    # loop would count the same free place twice.
    heading: EngineState | None = None

    @property
    def state(self) -> EngineState:
        return self.heading or self.engine.state


@dataclass(slots=True, eq=False)
class _Waiter:
    alias: str
    since: float
    granted: asyncio.Future[Lease] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def give_back(self) -> None:
        """For a waiter that left in the same turn of the loop in which it was granted a lease."""
        if self.granted.done() and not self.granted.cancelled() and self.granted.exception() is None:
            self.granted.result().release()


class Scheduler:
    """Leases for local engines, at most `max_loaded` of them up at once; `make` makes an alias's engine."""

    def __init__(self, make: Callable[[str], Engine], *, max_loaded: int, queue_timeout: float) -> None:
        self.uses: dict[str, EngineUse] = {}
        self._make = make
        self._max_loaded = max_loaded
        self._queue_timeout = queue_timeout
        self._waiters: list[_Waiter] = []
        self._closing = False
        self._impatient: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        engines = ", ".join(f"{alias}: {use.engine.state} {use.in_flight}" for alias, use in self.uses.items())
        return f"<Scheduler [{engines}], {len(self._waiters)} waiting>"

    @property
    def in_flight(self) -> int:
        return sum(use.in_flight for use in self.uses.values())

    @property
    def waiting(self) -> Mapping[str, int]:
        counts: dict[str, int] = dict.fromkeys(self.uses, 0)
        for waiter in self._waiters:
            counts[waiter.alias] += 1
        return counts

    def is_up(self, alias: str) -> bool:
        """Whether the engine of `alias` is READY, or on its way there."""
        use = self.uses.get(alias)
        return use is not None and use.state in (EngineState.STARTING, EngineState.READY)

    def use(self, alias: str) -> EngineUse:
        """The use of `alias`, made at its first mention: variants come up only when they are asked for."""
        if alias not in self.uses:
            self.uses[alias] = EngineUse(self._make(alias))
        return self.uses[alias]

    async def lease(self, alias: str) -> Lease:
        """A hold on the READY engine of `alias`, which is started or waited for as needed.

        Raises StartFailedError, QueueTimeoutError or ShuttingDownError. A caller that is cancelled leaves the queue;
        the start that it asked for goes on for the others.
        """
        self._still_open()
        use = self.use(alias)
        if use.state is EngineState.READY:
            return self._grant(alias)
        if use.state in (EngineState.STOPPED, EngineState.FATAL):
            await self._check(use.engine)
            self._still_open()  # the check may have lasted longer than the gateway
        waiter = _Waiter(alias, asyncio.get_running_loop().time())
        self._waiters.append(waiter)
        self._pump()
        lease = None
        try:
            async with asyncio.timeout(self._queue_timeout):
                lease = await waiter.granted
                return lease
        except TimeoutError:
            message = f"No engine came free for '{alias}' within {self._queue_timeout:g} s."
            raise QueueTimeoutError(message, retry_after=10) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if lease is None:
                waiter.give_back()

    def _still_open(self) -> None:
        if self._closing:
            raise ShuttingDownError("The gateway is shutting down.", retry_after=5)

    async def _check(self, engine: Engine) -> None:
        """What is certain to fail fails here, before a working engine makes room for it."""
        try:
            await engine.preflight()
        except TandemError as error:
            raise StartFailedError(engine.alias, refusal(error)) from error

    def changed(self, engine: Engine) -> None:
        """To be called after every transition of an engine."""
        use = self.uses.get(engine.alias)
        if use is not None:
            use.heading = None
        if use is not None and engine.state is EngineState.DRAINING and use.in_flight == 0:
            engine.drained()
        self._pump()

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        for action in decide(self._snapshot(loop.time())):
            match action:
                case Grant(alias):
                    for waiter in self._take(alias):
                        waiter.granted.set_result(self._grant(alias))
                case Refuse(alias):
                    for waiter in self._take(alias):
                        waiter.granted.set_exception(self._refusal(self.uses[alias].engine))
                case Start(alias):
                    self.uses[alias].heading = EngineState.STARTING
                    self.uses[alias].engine.start()
                case Drain(alias):
                    self.uses[alias].heading = EngineState.DRAINING
                    self.uses[alias].engine.drain()
        self._look_again_later(loop)

    def _look_again_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing else may happen by itself when a wait outgrows the policy's patience."""
        if self._impatient is not None:
            self._impatient.cancel()
        patient = [waiter.since + PATIENCE_S for waiter in self._waiters if waiter.since + PATIENCE_S > loop.time()]
        # A hair later than the moment itself: a timer may fire early by the clock's resolution.
        self._impatient = loop.call_at(min(patient) + 0.001, self._pump) if patient else None

    def _snapshot(self, now: float) -> SchedulerSnapshot:
        return SchedulerSnapshot(
            now=now,
            max_loaded=self._max_loaded,
            engines=tuple(
                EngineView(alias, use.state, use.in_flight, use.last_used) for alias, use in self.uses.items()
            ),
            waiting=tuple(Wait(waiter.alias, waiter.since) for waiter in self._waiters),
        )

    def _take(self, alias: str) -> list[_Waiter]:
        taken = [waiter for waiter in self._waiters if waiter.alias == alias]
        self._waiters = [waiter for waiter in self._waiters if waiter.alias != alias]
        return [waiter for waiter in taken if not waiter.granted.done()]

    def _grant(self, alias: str) -> Lease:
        use = self.uses[alias]
        use.in_flight += 1
        address = use.engine.address
        return Lease(alias, address.base_url, address.key, use.engine, lambda: self._released(use))

    def _released(self, use: EngineUse) -> None:
        use.in_flight -= 1
        use.last_used = asyncio.get_running_loop().time()
        if use.in_flight == 0:
            if use.engine.state is EngineState.DRAINING:
                use.engine.drained()
            elif self._waiters:
                self._pump()

    def _refusal(self, engine: Engine) -> StartFailedError:
        assert engine.diagnosis is not None
        return StartFailedError(engine.alias, engine.diagnosis, retry_after=engine.retry_after)

    def refuse_new(self) -> None:
        """No new leases; those who wait are sent away, streams go on."""
        self._closing = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.granted.done():
                waiter.granted.set_exception(ShuttingDownError("The gateway is shutting down.", retry_after=5))

    def hurry(self) -> None:
        """Every engine ends at once, whether it was stopping already or not."""
        for use in self.uses.values():
            use.engine.hurry()

    async def close(self) -> None:
        """Ends all engines, side by side; returns when every child is reaped."""
        self.refuse_new()
        if self._impatient is not None:
            self._impatient.cancel()
        await asyncio.gather(*(use.engine.close() for use in self.uses.values()))
