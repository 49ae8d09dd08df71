"""The queue and the leases: applies `policy.decide` whenever something changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from app import logs
from app.errors import (
    DeadlyRequestError,
    EngineLoadingError,
    EngineUnavailableError,
    QueueTimeoutError,
    ShuttingDownError,
    StartFailedError,
    TandemError,
)
from app.scheduler.engine_status import EngineStatus
from app.scheduler.engine_use import EngineUse
from app.scheduler.lease import Lease
from app.scheduler.misfits import Misfits
from app.scheduler.policy import (
    PATIENCE_S,
    Drain,
    EngineView,
    Grant,
    Refuse,
    Retry,
    SchedulerSnapshot,
    Start,
    Wait,
    decide,
)
from app.scheduler.suspects import Suspects
from app.supervisor.process import Engine
from app.supervisor.readiness import refusal
from app.supervisor.states import OCCUPYING, EngineState

log = logs.get_logger("scheduler")

# For a client that is told to come again, where nothing better is known. Seconds.
_COME_AGAIN_S, _COME_AGAIN_AT_LEAST_S, _COME_AGAIN_AT_MOST_S = 10.0, 2.0, 60.0
# Somebody else's doing: no request has caused it.
_ENDED_BY_OTHERS = "terminated"


@dataclass(slots=True, eq=False)
class _Waiter:
    alias: str
    since: float
    body: bytes | None = None
    granted: asyncio.Future[Lease] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    # Of the wait for a place, and then anew of that for the load
    limit: asyncio.Timeout | None = None

    def wait_until(self, at: float) -> None:
        """Moves the limit, unless it was passed in this very turn of the loop."""
        if self.limit is not None and not self.granted.done():
            with suppress(RuntimeError):
                self.limit.reschedule(at)

    def give_back(self) -> None:
        """For a waiter that left in the same turn of the loop in which it was granted a lease."""
        if self.granted.done() and not self.granted.cancelled() and self.granted.exception() is None:
            self.granted.result().release()


class Scheduler:
    """Leases for local engines, at most `max_loaded` of them up at once; `make` makes an alias's engine."""

    def __init__(self, make: Callable[[str], Engine], *, max_loaded: int, queue_timeout: float) -> None:
        self._uses: dict[str, EngineUse] = {}
        self._make = make
        self._max_loaded = max_loaded
        self._queue_timeout = queue_timeout
        self._waiters: list[_Waiter] = []
        self._closing = False
        self._impatient: asyncio.TimerHandle | None = None
        self._misfits = Misfits()
        self._suspects = Suspects()

    def __repr__(self) -> str:
        engines = ", ".join(f"{alias}: {use.engine.state} {use.in_flight}" for alias, use in self._uses.items())
        return f"<Scheduler [{engines}], {len(self._waiters)} waiting>"

    @property
    def in_flight(self) -> int:
        return sum(use.in_flight for use in self._uses.values())

    @property
    def waiting(self) -> Mapping[str, int]:
        counts: dict[str, int] = dict.fromkeys(self._uses, 0)
        for waiter in self._waiters:
            counts[waiter.alias] += 1
        return counts

    def status(self, alias: str) -> EngineStatus:
        """The engine of `alias` as it is now; one that nobody has mentioned yet is stopped."""
        use = self._uses.get(alias)
        return EngineStatus(alias) if use is None else use.status(self.waiting[alias])

    def statuses(self) -> list[EngineStatus]:
        """All engines that are or may be up: of every model, and of the variants that somebody has asked for."""
        waiting = self.waiting
        return [use.status(waiting[alias]) for alias, use in self._uses.items()]

    def start(self, alias: str, reason: str) -> None:
        """Starts the engine of `alias` without a request; for the gateway's own start, when places are free."""
        use = self.use(alias)
        use.reason = reason
        use.engine.start()

    async def settled(self, alias: str) -> EngineStatus:
        """The status of `alias` once its engine has come up or has failed to."""
        engine = self.use(alias).engine
        while engine.state in (EngineState.STOPPED, EngineState.STARTING):
            await engine.changed()
        return self.status(alias)

    def use(self, alias: str) -> EngineUse:
        """The use of `alias`, made at its first mention: variants come up only when they are asked for."""
        if alias not in self._uses:
            self._uses[alias] = EngineUse(self._make(alias))
        return self._uses[alias]

    async def lease(self, alias: str, body: bytes | None = None) -> Lease:
        """A hold on the READY engine of `alias`, which is started or waited for as needed, for a request with `body`.

        Raises StartFailedError, QueueTimeoutError, EngineLoadingError, DeadlyRequestError or ShuttingDownError. A
        caller that is cancelled leaves the queue; the start that it asked for goes on for the others.
        """
        self._still_open()
        use = self.use(alias)
        if refused_for := self._suspects.refused_for(alias, body, asyncio.get_running_loop().time()):
            raise DeadlyRequestError(alias, use.engine.diagnosis, retry_after=refused_for)
        if use.state is EngineState.READY:
            return self._grant(alias, body)
        if use.state in (EngineState.STOPPED, EngineState.FATAL):
            await self._check(use.engine)
            self._still_open()  # the check may have lasted longer than the gateway
        waiter = _Waiter(alias, asyncio.get_running_loop().time(), body)
        self._waiters.append(waiter)
        self._pump()
        lease = None
        try:
            async with asyncio.timeout(self._queue_timeout) as waiter.limit:
                lease = await waiter.granted
                return lease
        except TimeoutError:
            raise self._too_late(use) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if lease is None:
                waiter.give_back()

    def _too_late(self, use: EngineUse) -> EngineUnavailableError:
        """What a request has waited for, for as long as it may."""
        if use.state is EngineState.STARTING:
            loading = use.engine.loading
            left = (loading.seconds_left if loading else None) or _COME_AGAIN_S
            retry_after = min(max(left, _COME_AGAIN_AT_LEAST_S), _COME_AGAIN_AT_MOST_S)
            words, fields = (loading.words(), loading.fields()) if loading else ("it has just begun", {})
            return EngineLoadingError(use.engine.alias, words, fields, retry_after=retry_after)
        if use.state is EngineState.BACKOFF:
            return self._refusal(use.engine)
        message = f"No engine came free for '{use.engine.alias}' within {self._queue_timeout:g} s."
        return QueueTimeoutError(message, retry_after=_COME_AGAIN_S)

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
        use = self._uses.get(engine.alias)
        if use is not None:
            use.heading = None
            use.moved(asyncio.get_running_loop().time())
            self._learn(use)
        self._pump()

    def _learn(self, use: EngineUse) -> None:
        """What a transition of its engine tells of others, and of those who wait for it or are with it."""
        engine, now = use.engine, asyncio.get_running_loop().time()
        match engine.state:
            case EngineState.STARTING:
                for waiter in self._waiters:
                    if waiter.alias == engine.alias:
                        waiter.wait_until(now + self._queue_timeout)
            case EngineState.READY:
                self._misfits.came_up(engine.alias, self._up_beside(engine.alias))
            case EngineState.DRAINING if use.in_flight == 0:
                engine.drained()
            case EngineState.STOPPED:
                self._misfits.gone(engine.alias)
            case EngineState.BACKOFF | EngineState.FATAL if engine.diagnosis is not None:
                code = engine.diagnosis.code
                self._misfits.failed(engine.alias, code, self._up_beside(engine.alias), now)
                if code != _ENDED_BY_OTHERS and use.leases:
                    self._suspects.died(engine.alias, [lease.body for lease in use.leases], now)

    def _up_beside(self, alias: str) -> set[str]:
        return {other for other, use in self._uses.items() if other != alias and use.state in OCCUPYING}

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        for action in decide(self._snapshot(loop.time())):
            match action:
                case Grant(alias):
                    for waiter in self._take(alias):
                        waiter.granted.set_result(self._grant(alias, waiter.body))
                case Refuse(alias):
                    for waiter in self._take(alias):
                        waiter.granted.set_exception(self._refusal(self._uses[alias].engine))
                case Start(alias):
                    self._uses[alias].heading = EngineState.STARTING
                    self._uses[alias].engine.start()
                case Retry(alias):
                    self._uses[alias].heading = EngineState.STOPPING  # it is about to be STOPPED
                    self._uses[alias].engine.retry()
                case Drain(alias, room_for):
                    log.info("engine makes room", alias=alias, room_for=room_for)
                    self._misfits.drained(alias, room_for)
                    self._uses[alias].heading = EngineState.DRAINING
                    self._uses[alias].engine.drain()
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
            engines=tuple(self._view(alias, use) for alias, use in self._uses.items()),
            waiting=tuple(Wait(waiter.alias, waiter.since) for waiter in self._waiters),
            misfits=frozenset(self._misfits.known),
        )

    def _view(self, alias: str, use: EngineUse) -> EngineView:
        return EngineView(
            alias,
            use.state,
            use.in_flight,
            use.last_used or 0.0,
            retry_at=use.engine.retry_at,
            has_been_up=use.engine.has_been_up,
            wants_memory=self._misfits.wants_memory(alias),
            room_made=self._misfits.room_made(alias),
        )

    def _take(self, alias: str) -> list[_Waiter]:
        taken = [waiter for waiter in self._waiters if waiter.alias == alias]
        self._waiters = [waiter for waiter in self._waiters if waiter.alias != alias]
        return [waiter for waiter in taken if not waiter.granted.done()]

    def _grant(self, alias: str, body: bytes | None) -> Lease:
        use = self._uses[alias]
        engine, address = use.engine, use.engine.address

        def answered() -> None:
            engine.answered()
            self._suspects.answered(alias, body)

        def release() -> None:
            self._released(use, lease)

        lease = Lease(
            alias,
            address.base_url,
            address.key,
            engine,
            release,
            body=body,
            answered=answered,
            in_flight=use.in_flight + 1,
        )
        use.leases.add(lease)
        return lease

    def _released(self, use: EngineUse, lease: Lease) -> None:
        use.leases.discard(lease)
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
        for use in self._uses.values():
            use.engine.hurry()

    async def close(self) -> None:
        """Ends all engines, side by side; returns when every child is reaped."""
        self.refuse_new()
        if self._impatient is not None:
            self._impatient.cancel()
        await asyncio.gather(*(use.engine.close() for use in self._uses.values()))
