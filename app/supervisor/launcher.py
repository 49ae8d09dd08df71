"""From a launch plan to a running engine that is healthy, ours, and speculates as asked or says why not."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from app import logs
from app.config.speculation import drafts, named
from app.engine.diagnose import LOG_SAYS_MORE, diagnose, last_lines
from app.engine.launch import LaunchPlan
from app.errors import Diagnosis, TandemError
from app.records.ledger import Ledger
from app.speculation.status import Status, judge
from app.supervisor.activity import Activity
from app.supervisor.child import Child
from app.supervisor.conversation_files import KeptSlots
from app.supervisor.conversations import Conversations
from app.supervisor.endings import says_goodbye
from app.supervisor.engine_facts import EngineFacts, LoadedFiles, facts_of
from app.supervisor.load_progress import LoadProgress
from app.supervisor.orphans import MARKER, marker
from app.supervisor.ports import LOOPBACK, Ports
from app.supervisor.readiness import EngineAddress, StartLimits, fingerprint, refusal, until_ready

log = logs.get_logger("engine")

PORT_TRIES = 8


@dataclass(slots=True)
class Running:
    """A child and where it answers; `since` is when it became ready, on the loop's clock."""

    child: Child
    port: int
    address: EngineAddress
    since: float
    speculation: Status
    # None until it is ready
    facts: EngineFacts | None = None
    # What of its slots outlives it
    kept: KeptSlots | None = None


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan, and what it was made from: the fingerprint of its files, and limits, which a reload makes anew."""

    plan: LaunchPlan
    fingerprint: str
    limits: StartLimits

    @classmethod
    def of(cls, plan: LaunchPlan, limits: StartLimits) -> CheckedPlan:
        return cls(plan, fingerprint(plan), limits)

    def holds(self, limits: StartLimits) -> bool:
        """Whether settings, files and binary are what they were. Reads the files' stats."""
        return limits is self.limits and fingerprint(self.plan) == self.fingerprint


class Launcher:
    """One alias's starts, one at a time. `running` is set as soon as there is a child to end."""

    def __init__(
        self,
        alias: str,
        plan: Callable[[], Awaitable[LaunchPlan]],
        ports: Ports,
        limits: StartLimits,
        ledger: Ledger,
        conversations: Conversations | None = None,
    ) -> None:
        self.alias = alias
        self.running: Running | None = None
        # Of the start that is under way
        self.loading: LoadProgress | None = None
        # The running child has said that it goes
        self.goodbye = asyncio.Event()
        # Ends a stop's patience
        self.hurry = asyncio.Event()
        # What the preflight has left for the next start
        self.checked: CheckedPlan | None = None
        # The last start's plan, and what it may not be tried with again
        self.plan: LaunchPlan | None = None
        self.refused: str | None = None
        self.limits = limits
        self._plan = plan
        self._ports = ports
        # Knows plans whose speculation is certain to fail again
        self._ledger = ledger
        # Without them an engine begins each time with nothing read
        self._conversations = conversations

    async def preflight(self) -> CheckedPlan:
        """A plan of now; raises what the plan raises."""
        limits = self.limits  # before the settings are read
        return await asyncio.to_thread(CheckedPlan.of, await self._plan(), limits)

    async def _checked_plan(self) -> CheckedPlan:
        """The preflight's plan, once, if it still holds, else a new one: `auto` chooses anew at each start."""
        checked, self.checked = self.checked, None
        if checked is not None and await asyncio.to_thread(checked.holds, self.limits):
            return checked
        return await self.preflight()

    async def start(self) -> Diagnosis | None:
        """None when the engine is ready, else why it is not; the child of a failed start is reaped."""
        self.refused = None
        try:
            checked = await self._checked_plan()
        except TandemError as error:
            return refusal(error)
        plan = self.plan = checked.plan
        self.refused = checked.fingerprint
        if plan.fallback is None:
            return await self._start(plan)
        if (why := await asyncio.to_thread(self._ledger.inert, self.refused)) is not None:
            return await self._without(plan.fallback, why)
        diagnosis = await self._start(plan)
        if diagnosis is None:
            return None
        return await self._retry(plan, plan.fallback, diagnosis)

    async def _retry(self, plan: LaunchPlan, fallback: LaunchPlan, first: Diagnosis) -> Diagnosis | None:
        """One try without speculation, which may have been what killed the start."""
        reason = f"{named(plan.chain)} failed at the start: {first.cause}"
        log.warning("trying again without speculation", alias=self.alias, reason=reason)
        diagnosis = await self._without(fallback, reason)
        if diagnosis is None and first.permanent and self.refused is not None:
            self._ledger.record_inert(self.refused, reason)
        # Where plain decoding fails as well, speculation was not to blame.
        return diagnosis

    async def _without(self, fallback: LaunchPlan, reason: str) -> Diagnosis | None:
        self.plan = fallback
        diagnosis = await self._start(fallback)
        if diagnosis is None and self.running is not None:
            self.running.speculation = Status(fallback.requested_mode, active=False, reason=reason)
        return diagnosis

    async def _start(self, plan: LaunchPlan) -> Diagnosis | None:
        port = 0
        for _ in range(PORT_TRIES):
            try:
                port = self._ports.take(above=port)
            except TandemError as error:
                return Diagnosis("no_port", str(error), "Set engine_port lower.", permanent=False)
            diagnosis = await self._start_on(port, plan)
            if diagnosis is None or diagnosis.code != "port_taken":
                return diagnosis
            log.info("port taken by someone else", alias=self.alias, port=port)
        return diagnosis

    async def _start_on(self, port: int, plan: LaunchPlan) -> Diagnosis | None:
        files = await asyncio.to_thread(LoadedFiles.of, plan.files)
        key = secrets.token_urlsafe(32)
        env = {**plan.env, "LLAMA_API_KEY": key, MARKER: marker()}
        kept = await self._conversations.prepare(plan) if self._conversations else None
        if kept is not None and kept.folder is not None:
            plan = plan.saving_slots_in(kept.folder.path)
        argv = plan.with_port(port).argv
        try:
            child = Child.spawn(argv, env, self._log_line)
        except OSError as error:
            self._ports.release(port)
            return diagnose(127, [f"{argv[0]}: {error.strerror}"])
        address = EngineAddress(f"http://{LOOPBACK}:{port}", key)
        clock = asyncio.get_running_loop().time
        status = Status(plan.requested_mode, reason=plan.fallback_reason)
        self.goodbye.clear()
        running = self.running = Running(child, port, address, clock(), status, kept=kept)
        size = _size(plan)
        self.loading = LoadProgress(size, clock)
        diagnosis = await until_ready(child, address, self.limits, size, argv=argv, saw=self._saw)
        diagnosis = diagnosis or await self._proven(running, plan) or await self._restored(running)
        if diagnosis is not None:
            await self.end()
        else:
            running.facts = await facts_of(address, files)
            running.since = clock()
        return diagnosis

    async def _proven(self, running: Running, plan: LaunchPlan) -> Diagnosis | None:
        """Fills in the speculation's status; a diagnosis where the engine died of the proof, or must not be inert."""
        if not plan.chain:
            active = None if running.speculation.requested_mode == "none" and not plan.fallback_reason else False
            running.speculation = Status(plan.requested_mode, active=active or False, reason=plan.fallback_reason)
            return None
        import httpx2  # late, as in until_ready

        from app.supervisor.speculation_check import gather

        child = running.child
        gathering = asyncio.ensure_future(gather(running.address, plan.chain, child.log))
        gone = asyncio.ensure_future(child.wait())
        limit = self.limits.whole(_size(plan))
        try:
            await asyncio.wait({gathering, gone}, return_when=asyncio.FIRST_COMPLETED, timeout=limit)
            if gone.done():
                return diagnose(gone.result(), tuple(child.log))
            if not gathering.done():
                late = f"no answer to the warm-up within {limit:g} s"
                return diagnose(None, tuple(child.log), hung=late)
            evidence = gathering.result()
        except (httpx2.HTTPError, ValueError) as error:
            # A crash closes the connection before the process is gone.
            with suppress(TimeoutError):
                return diagnose(await asyncio.wait_for(child.wait(), 2), tuple(child.log))
            cause = f"The warm-up got no answer: {type(error).__name__}."
            return Diagnosis("no_proof", cause, LOG_SAYS_MORE, permanent=False, log_tail=last_lines(child.log))
        finally:
            gathering.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError, httpx2.HTTPError, ValueError):
                await gathering
        status = judge(plan.requested_mode, named(plan.chain), draft_mode=drafts(plan.chain), evidence=evidence)
        # What is left of a chain may be on, and it still has to be said why the rest is not.
        status = replace(status, reason=" ".join(filter(None, (plan.fallback_reason, status.reason))))
        running.speculation = status
        if not status.active and plan.fallback is None:
            advice = "Set `on_inert: plain` to serve this model without speculation."
            cause = f"Speculation is not on: {status.reason}."
            return Diagnosis("speculation_inert", cause, advice, permanent=True, log_tail=last_lines(child.log))
        return None

    async def _restored(self, running: Running) -> Diagnosis | None:
        """Gives the engine back what it had read; a diagnosis where it has died of that."""
        if self._conversations is None or running.kept is None:
            return None
        await self._conversations.restore(running.kept, running.address)
        if (returncode := running.child.returncode) is not None:
            return diagnose(returncode, tuple(running.child.log))
        return None

    async def save_conversations(self) -> None:
        """Of a running engine that has nothing to do and is about to be ended; in two seconds, or not."""
        running = self.running
        if self._conversations is None or running is None or running.kept is None:
            return
        if not await self._conversations.save(running.kept, running.address):
            # It still writes, and would take its grace for that
            self.hurry.set()

    async def end(self) -> None:
        """SIGTERM, grace, SIGKILL; returns when the child is reaped. Harmless without one."""
        if (running := self.running) is not None:
            await running.child.terminate(self.limits.grace, self.hurry)
            self.forget()
            if self._conversations is not None and running.kept is not None:
                await self._conversations.ended(running.kept)

    def forget(self) -> None:
        """Gives the port of a child that is gone back."""
        if self.running is not None:
            self._ports.release(self.running.port)
            self.running = None

    def _saw(self, activity: Activity) -> None:
        assert self.loading is not None
        if self.loading.saw(activity):
            log.info(f"engine loading: {self.loading.words()}", alias=self.alias, **self.loading.fields())

    def _log_line(self, line: str) -> None:
        logs.memory.add_engine_line(self.alias, time.time(), line)
        if says_goodbye(line):
            self.goodbye.set()
        log.debug(line, alias=self.alias, pid=self.running.child.pid if self.running else None)


def _size(plan: LaunchPlan) -> int:
    """Of the plan's model files, in bytes; a file that is gone counts as none."""
    size = 0
    for path in plan.files:
        with suppress(OSError):
            size += path.stat().st_size
    return size
