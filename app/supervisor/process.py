"""The task that owns one engine. Only it writes the state; other tasks send verbs and read.

    engine.start() ... engine.drain() ... engine.stop()     verbs: return at once
    engine.state, engine.diagnosis, engine.address          the present state
    on_change                                               called after every transition
    on_proven                                               called when traffic has shown speculation

An engine never restarts itself: the next request does, unless it is in BACKOFF or FATAL. BACKOFF is for failures that
may pass by themselves. FATAL is for failures that a restart cannot fix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from app import logs
from app.config.speculation import NONE
from app.engine.launch import LaunchPlan
from app.errors import Diagnosis, HostLostError
from app.records.ledger import Ledger
from app.speculation.status import Status
from app.supervisor import endings
from app.supervisor.backoff import Backoff
from app.supervisor.conversations import Conversations
from app.supervisor.endings import Ending
from app.supervisor.engine_facts import EngineFacts
from app.supervisor.hang import until_hung
from app.supervisor.host import PlacedPlan
from app.supervisor.launcher import Launcher, Running
from app.supervisor.load_progress import LoadProgress
from app.supervisor.readiness import EngineAddress, StartLimits
from app.supervisor.states import OCCUPYING, EngineEvent, EngineState, next_state

log = logs.get_logger("engine")

# After so many seconds in READY the engine counts as working, and earlier failures are forgotten.
PROVEN_AFTER_S = 60.0


class Engine:
    """The supervised engine of one alias."""

    def __init__(
        self,
        alias: str,
        *,
        plan: Callable[[], Awaitable[PlacedPlan]],
        limits: StartLimits,
        ledger: Ledger,
        on_change: Callable[[Engine], None],
        on_proven: Callable[[Engine], None],
        busy: Callable[[], bool] = lambda: False,
        conversations: Conversations | None = None,
    ) -> None:
        self.alias = alias
        # The present state
        self.state = EngineState.STOPPED
        self.diagnosis: Diagnosis | None = None
        self.starts = 0
        self._has_been_up = False
        self._on_change = on_change
        self._on_proven = on_proven
        # Whether it has a request
        self._busy = busy
        # Used by the owning task only
        self._launcher = Launcher(alias, plan, limits, ledger, conversations)
        self._keeps_conversations = conversations is not None
        self._backoff = Backoff()
        self._ending: Ending | None = None
        self._hangs: str | None = None
        self._verbs: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"engine {alias}")

    def __repr__(self) -> str:
        return f"<Engine {self.alias}: {self.state}, pid {self.pid}>"

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        return self._running.child.pid if self._running else None

    @property
    def port(self) -> int | None:
        return self._running.child.port if self._running else None

    @property
    def host(self) -> str | None:
        """The name of the machine that it runs on; None without a process."""
        return self._running.host.name if self._running else None

    @property
    def plan(self) -> LaunchPlan | None:
        """The plan of the last start."""
        return self._launcher.plan

    @property
    def speculation(self) -> Status | None:
        """The result of the check; None while nothing is loaded."""
        return self._running.speculation if self._running and self.state is not EngineState.STARTING else None

    @property
    def facts(self) -> EngineFacts | None:
        """Facts of the running engine; None while nothing is loaded."""
        return self._running.facts if self._running else None

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines that the running child has written."""
        return tuple(self._running.child.log) if self._running else ()

    @property
    def loading(self) -> LoadProgress | None:
        """The progress of a start; None unless STARTING, and before there is a process."""
        return self._launcher.loading if self.state is EngineState.STARTING else None

    def limit(self, limits: StartLimits) -> None:
        """Sets the limits of the next start and stop. A reload passes a new object, so older plans no longer hold."""
        self._launcher.limits = limits

    def answered(self) -> None:
        """Records an answered request: the engine works, so earlier failures are forgotten."""
        self._backoff.worked()

    def drafted(self) -> None:
        """Records a token drafted in traffic. It shows that a mode works which no warm-up can make draft."""
        running = self._running
        if running is not None and not running.speculation.active and running.speculation.mode != NONE:
            reason = self.plan.fallback_reason if self.plan else ""
            running.speculation = replace(running.speculation, active=True, reason=reason)
            log.info("speculation proven by traffic", alias=self.alias, mode=running.speculation.mode)
            self._on_proven(self)

    @property
    def _running(self) -> Running | None:
        return self._launcher.running

    @property
    def address(self) -> EngineAddress:
        """The address of a running engine."""
        assert self._running is not None
        return self._running.address

    @property
    def may_come_up(self) -> bool:
        """Whether a start has succeeded, or another program ended the last one, so that the next may succeed."""
        return self._has_been_up or (self.diagnosis is not None and self.diagnosis.code in endings.FROM_OUTSIDE)

    @property
    def retry_at(self) -> float:
        """The end of a BACKOFF, on the loop's clock."""
        return self._backoff.until

    @property
    def retry_after(self) -> float | None:
        """Seconds until a start may be tried again; None unless in BACKOFF."""
        if self.state is not EngineState.BACKOFF:
            return None
        return max(0.0, self.retry_at - asyncio.get_running_loop().time())

    async def changed(self) -> None:
        """Returns at the next transition."""
        await self._changed.wait()

    async def post_mortem(self, key: str | None, patience: float = 2.0) -> Diagnosis | None:
        """After a broken connection: the diagnosis of the process with this key, if it ends within `patience` seconds.

        None if it does not. The kernel closes a crashed process's sockets before it has written the core file.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._serves(key):
                    await self.changed()
        return self._ending.diagnosis if self._ending is not None and self._ending.key == key else None

    def _serves(self, key: str | None) -> bool:
        """Whether the process with this key is up, as far as known."""
        up = self.state in (EngineState.READY, EngineState.DRAINING)
        return up and self._running is not None and self._running.address.key == key

    async def preflight(self) -> None:
        """Checks what can be known before a start, and so before another engine makes room for it.

        Raises the plan's errors. A FATAL engine whose files or binary have changed is reset. The next start uses the
        same plan, unless the settings or a file of it change in between.
        """
        checked = await self._launcher.preflight()
        if self.state is EngineState.FATAL and checked.fingerprint != self._launcher.refused:
            self.reset()
            while self.state is EngineState.FATAL:
                await self.changed()
        if self.state is EngineState.STOPPED:
            self._launcher.checked = checked

    # -- verbs -----------------------------------------------------------------------------------------------

    def start(self, on: str = "") -> None:
        """`on` is the host that was chosen, if there are several."""
        self._launcher.on = on
        self._verbs.put_nowait(EngineEvent.START)

    def drain(self) -> None:
        self._verbs.put_nowait(EngineEvent.DRAIN)

    def drained(self) -> None:
        self._verbs.put_nowait(EngineEvent.DRAINED)

    async def unresponsive(self, key: str | None) -> None:
        """Reports that the process with this key accepts no connections; returns once it is ending."""
        if self._serves(key):
            self._verbs.put_nowait(EngineEvent.UNRESPONSIVE)
        while self._serves(key):
            await self.changed()

    def reset(self) -> None:
        self._verbs.put_nowait(EngineEvent.RESET)

    def retry(self) -> None:
        """Ends a BACKOFF, since the cause of the failure is gone."""
        self._verbs.put_nowait(EngineEvent.RETRY)

    def stop(self) -> None:
        """Stops the engine. A second call cuts the grace short."""
        if self.state is EngineState.STOPPING:
            self._launcher.hurry.set()
        else:
            self._verbs.put_nowait(EngineEvent.STOP)

    def hurry(self) -> None:
        """Stops without grace."""
        self._launcher.hurry.set()
        self.stop()

    async def close(self) -> None:
        """Stops the engine for good; returns when its child is reaped."""
        if self.state is not EngineState.STOPPING:
            self.stop()
        while self.state is not EngineState.STOPPED or not self._verbs.empty():
            await self.changed()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    # -- the owning task -------------------------------------------------------------------------------------

    async def _live(self) -> None:
        stages: dict[EngineState, Callable[[], Awaitable[EngineEvent]]] = {
            EngineState.STOPPED: self._stopped,
            EngineState.STARTING: self._starting,
            EngineState.READY: self._serving,
            EngineState.DRAINING: self._draining,
            EngineState.STOPPING: self._stopping,
            EngineState.BACKOFF: self._backing_off,
            EngineState.FATAL: self._fatal,
        }
        while True:
            try:
                event = await stages[self.state]()
            except (Exception, asyncio.CancelledError) as error:
                if _cancelled() or self.state not in OCCUPYING:
                    raise
                event = await self._fault(error)
            self._move(event)

    async def _fault(self, error: BaseException) -> EngineEvent:
        """Ends the process after a fault of llama-tandem itself. Otherwise requests would wait for ever.

        An unrequested CancelledError comes from a task that this task awaits.
        """
        log.error("supervision failed", alias=self.alias, state=str(self.state), exc_info=error)
        cause = f"llama-tandem failed while the engine was {self.state} ({type(error).__name__}: {error})."
        self.diagnosis = Diagnosis("supervision_failed", cause, "Report it, with the traceback in the log.", False)
        if self.state is EngineState.STARTING:
            try:
                await self._launcher.end()
            except Exception as another:
                log.error("supervision failed", alias=self.alias, state=str(self.state), exc_info=another)
                self._launcher.forget()
            return self._failed(EngineEvent.START_FAILED)
        if self.state in (EngineState.READY, EngineState.DRAINING):
            return EngineEvent.STOP
        self._launcher.forget()
        return EngineEvent.EXITED

    def _move(self, event: EngineEvent) -> None:
        before, self.state = self.state, next_state(self.state, event)
        if self.state is not before:  # stopping a stopped engine is no event
            # The caller that gets the diagnosis logs a failure, so here it is a debug line
            failed = self.state in (EngineState.BACKOFF, EngineState.FATAL) and self.diagnosis is not None
            write = log.debug if failed else log.info
            write(f"engine {self.state}", alias=self.alias, was=str(before), why=str(event), pid=self.pid)
        self._changed.set()
        self._changed = asyncio.Event()
        try:
            self._on_change(self)
        except Exception as error:
            log.error("a change of state was not followed", alias=self.alias, state=str(self.state), exc_info=error)

    async def _verb(self, *accepted: EngineEvent) -> EngineEvent:
        """The next verb that is valid in this state. Late ones are dropped, such as a drain after the exit."""
        while True:
            event = await self._verbs.get()
            if event in accepted:
                return event

    async def _verb_or_end(self, *accepted: EngineEvent) -> EngineEvent:
        assert self._running is not None
        verb = asyncio.ensure_future(self._verb(*accepted))
        gone = asyncio.ensure_future(self._running.child.wait())
        deaf = asyncio.ensure_future(endings.until_deaf(self._launcher.goodbye, self._running.address.base_url))
        hung = asyncio.ensure_future(self._until_hung(self._running))
        watched: set[asyncio.Future[Any]] = {verb, gone, deaf, hung}
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            # A stop in the same turn as the exit counts too: the caller of `close` waits for STOPPED.
            stop = verb.done() and verb.result() is EngineEvent.STOP
            if gone.done() and not stop:
                gone.result()  # a wait that failed is no exit
                return EngineEvent.EXITED
            if verb.done():
                return verb.result()
            self._hangs = hung.result() if hung.done() else None
            return EngineEvent.UNRESPONSIVE
        finally:
            for waiting in watched:
                waiting.cancel()

    async def _until_hung(self, running: Running) -> str:
        with suppress(HostLostError):  # `Child.wait` tells that
            return await until_hung(
                running.host, running.child, running.address, busy=self._busy, limit=self._launcher.limits.hang
            )
        return await asyncio.Future()

    async def _stopped(self) -> EngineEvent:
        return await self._verb(EngineEvent.START, EngineEvent.STOP)

    async def _fatal(self) -> EngineEvent:
        self._has_been_up = False
        event = await self._verb(EngineEvent.RESET, EngineEvent.STOP)
        self._backoff.forget()
        return event

    async def _starting(self) -> EngineEvent:
        self.starts += 1
        starting = asyncio.ensure_future(self._launcher.start())
        stop = asyncio.ensure_future(self._verb(EngineEvent.STOP))
        try:
            await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():  # as above, in the same turn as the end of the start
                return EngineEvent.STOP
            self.diagnosis = starting.result()
        finally:
            stop.cancel()
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
        if self.diagnosis is None:
            self._has_been_up = True
            self._log_speculation()
            return EngineEvent.HEALTHY
        if self.diagnosis.permanent:
            return EngineEvent.START_REFUSED
        return self._failed(EngineEvent.START_FAILED)

    def _log_speculation(self) -> None:
        assert self._running is not None
        status = self._running.speculation
        if status.requested_mode != NONE:
            write = log.info if status.active else log.warning
            write("speculation is on" if status.active else "speculation is off", alias=self.alias, **status.fields())

    async def _serving(self) -> EngineEvent:
        event = await self._verb_or_end(EngineEvent.DRAIN, EngineEvent.STOP, EngineEvent.UNRESPONSIVE)
        assert self._running is not None
        if asyncio.get_running_loop().time() - self._running.since >= PROVEN_AFTER_S:
            self._backoff.worked()
        self._note_the_end(self._running, event)
        if event is EngineEvent.EXITED:
            self._launcher.forget()
            self._failed(event)
        return event

    async def _draining(self) -> EngineEvent:
        event = await self._verb_or_end(EngineEvent.DRAINED, EngineEvent.STOP, EngineEvent.UNRESPONSIVE)
        if event is EngineEvent.DRAINED and self._keeps_conversations:
            event = await self._saving()
        assert self._running is not None
        self._note_the_end(self._running, event)
        if event is EngineEvent.EXITED:
            self._launcher.forget()
        return event

    async def _saving(self) -> EngineEvent:
        """DRAINED once its conversations are saved, unless it is stopped or ends before."""
        saving = asyncio.ensure_future(self._launcher.save_conversations())
        cut_off = asyncio.ensure_future(self._verb_or_end(EngineEvent.STOP, EngineEvent.UNRESPONSIVE))
        try:
            await asyncio.wait({saving, cut_off}, return_when=asyncio.FIRST_COMPLETED)
            return cut_off.result() if cut_off.done() else EngineEvent.DRAINED
        finally:
            for task in (saving, cut_off):
                task.cancel()
            await asyncio.wait({saving, cut_off})
            if not saving.cancelled() and (error := saving.exception()) is not None:
                log.warning("conversations were not saved", alias=self.alias, error=repr(error))

    def _note_the_end(self, running: Running, event: EngineEvent) -> None:
        """Records the cause for the answers that this end interrupts; the gateway's own stops have none."""
        if event is EngineEvent.EXITED:
            self.diagnosis = endings.exited(running.child)
        elif event is EngineEvent.UNRESPONSIVE:
            self.diagnosis = endings.unresponsive(running.child, self._hangs)
        else:
            return
        self._ending = Ending(running.address.key, self.diagnosis)

    async def _stopping(self) -> EngineEvent:
        await self._launcher.end()
        self._launcher.hurry.clear()
        return EngineEvent.EXITED

    async def _backing_off(self) -> EngineEvent:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.retry_at):
                return await self._verb(EngineEvent.STOP, EngineEvent.RETRY)
        return EngineEvent.BACKOFF_ELAPSED

    def _failed(self, event: EngineEvent) -> EngineEvent:
        now = asyncio.get_running_loop().time()
        if self.diagnosis is not None and self.diagnosis.code in (endings.NODE_LOST, endings.NO_NODE):
            self._backoff.spare(now)
        else:
            self._backoff.failed(now)
        return event


def _cancelled() -> bool:
    """Tells whether the present task has been cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
