"""Starts an engine from its launch plan: healthy, verified as our own, and with its speculation checked."""

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
from app.errors import Diagnosis, HostLostError, NoPortError, TandemError
from app.records.ledger import Ledger
from app.speculation.status import Status, judge
from app.supervisor.activity import Activity
from app.supervisor.conversation_files import KeptSlots
from app.supervisor.conversations import Conversations
from app.supervisor.endings import ended_early, lost, says_goodbye
from app.supervisor.engine_facts import EngineFacts, LoadedFiles, facts_of
from app.supervisor.host import Child, Host, PlacedPlan, SpawnOrder
from app.supervisor.load_progress import LoadProgress
from app.supervisor.readiness import EngineAddress, StartLimits, fingerprint, refusal, until_ready

log = logs.get_logger("engine")

PORT_TRIES = 8


@dataclass(slots=True)
class Running:
    """A child, its host and its address; `since` is when it became ready, on the loop's clock."""

    host: Host
    child: Child
    address: EngineAddress
    since: float
    speculation: Status
    # None until it is ready
    facts: EngineFacts | None = None
    # Its saved slots
    kept_slots: KeptSlots | None = None


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan with the fingerprint of its files and its limits. A reload replaces the limits."""

    plan: LaunchPlan
    fingerprint: str
    limits: StartLimits
    host: Host

    @classmethod
    async def of(cls, placed: PlacedPlan, limits: StartLimits) -> CheckedPlan:
        """Raises HostLostError."""
        return cls(placed.plan, await placed.host.run(fingerprint, placed.plan), limits, placed.host)

    async def holds(self, limits: StartLimits) -> bool:
        """Whether settings, files and binary are unchanged. The host reads the files' stats. False if it is lost."""
        with suppress(HostLostError):
            return limits is self.limits and await self.host.run(fingerprint, self.plan) == self.fingerprint
        return False


class Launcher:
    """Starts one alias's engine, one start at a time. `running` is set as soon as there is a child to end."""

    def __init__(
        self,
        alias: str,
        plan: Callable[[], Awaitable[PlacedPlan]],
        limits: StartLimits,
        ledger: Ledger,
        conversations: Conversations | None = None,
    ) -> None:
        self.alias = alias
        self.running: Running | None = None
        # The progress of the current start
        self.loading: LoadProgress | None = None
        # Set when the running child logs its goodbye
        self.goodbye = asyncio.Event()
        # Set to cut the grace of a stop short
        self.hurry = asyncio.Event()
        # The plan of the preflight, for the next start
        self.checked: CheckedPlan | None = None
        # The host that the next start is for; empty if there is only one
        self.on = ""
        # The last start's plan, and the fingerprint with which it failed for good
        self.plan: LaunchPlan | None = None
        self.refused: str | None = None
        self.limits = limits
        self._plan = plan
        # Of the last start
        self._host: Host
        # Stores the plans whose speculation fails at every start
        self._ledger = ledger
        # None: no slots are saved or restored
        self._conversations = conversations

    async def preflight(self) -> CheckedPlan:
        """Makes a plan from the present settings and files. Raises the plan's errors."""
        limits = self.limits  # before the settings are read
        return await CheckedPlan.of(await self._plan(), limits)

    async def _checked_plan(self) -> CheckedPlan:
        """The preflight's plan, once, if nothing has changed; else a new one, for which `auto` chooses again."""
        checked, self.checked = self.checked, None
        there = checked is not None and self.on in ("", checked.host.name)
        if checked is not None and there and await checked.holds(self.limits):
            return checked
        return await self.preflight()

    async def start(self) -> Diagnosis | None:
        """Starts the engine; returns a diagnosis unless it is ready. The child of a failed start is reaped."""
        self.refused = None
        try:
            return await self._planned_start()
        except HostLostError as error:
            self.forget()
            return lost(error.reason)

    async def _planned_start(self) -> Diagnosis | None:
        try:
            checked = await self._checked_plan()
        except HostLostError:
            raise
        except TandemError as error:
            return refusal(error)
        plan, self._host = checked.plan, checked.host
        self.plan = plan
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
        """Starts once more without speculation, which may be the cause of the failure."""
        reason = f"{named(plan.chain)} failed at the start: {first.cause}"
        log.warning("trying again without speculation", alias=self.alias, reason=reason)
        diagnosis = await self._without(fallback, reason)
        if diagnosis is None and first.permanent and self.refused is not None:
            self._ledger.record_inert(self.refused, reason)
        # If plain decoding fails as well, speculation was not the cause.
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
            diagnosis, port = await self._start_above(port, plan)
            if diagnosis is None or diagnosis.code != "port_taken":
                return diagnosis
            log.info("port taken by another process", alias=self.alias, port=port)
        return diagnosis

    async def _start_above(self, port: int, plan: LaunchPlan) -> tuple[Diagnosis | None, int]:
        """Starts the engine on a higher port than this; returns the diagnosis unless it is ready, and its port."""
        files = await self._host.run(LoadedFiles.of, plan.files)
        key = secrets.token_urlsafe(32)
        conversations = self._conversations_on(self._host)
        kept_slots = await conversations.prepare(plan) if conversations else None
        if kept_slots is not None and kept_slots.folder is not None:
            plan = plan.saving_slots_in(kept_slots.folder.path)
        order = SpawnOrder(secrets.token_hex(8), plan.argv, {**plan.env, "LLAMA_API_KEY": key}, above=port)
        try:
            child = await self._host.spawn(order, self._log_line)
        except OSError as error:
            return diagnose(127, [f"{plan.argv[0]}: {error.strerror}"]), port
        except NoPortError as error:
            return Diagnosis("no_port", str(error), "Set engine_port lower.", permanent=False), port
        clock = asyncio.get_running_loop().time
        status = Status(plan.requested_mode, reason=plan.fallback_reason)
        self.goodbye.clear()
        address = EngineAddress(child.base_url, key)
        running = self.running = Running(self._host, child, address, clock(), status, kept_slots=kept_slots)
        diagnosis = await self._until_serving(running, plan, files.size)
        if diagnosis is not None:
            await self.end()
        else:
            running.facts = await facts_of(address, files)
            running.since = clock()
        return diagnosis, child.port

    async def _until_serving(self, running: Running, plan: LaunchPlan, size: int) -> Diagnosis | None:
        """Ready, its speculation checked, its slots restored; or the diagnosis."""
        self.loading = LoadProgress(size, asyncio.get_running_loop().time)
        child, address, limits = running.child, running.address, self.limits
        ready = until_ready(self._host, child, address, limits, size, argv=plan.argv, saw=self._saw)
        return await ready or await self._check_speculation(running, plan, size) or await self._restored(running)

    async def _check_speculation(self, running: Running, plan: LaunchPlan, size: int) -> Diagnosis | None:
        """Checks the speculation and sets its status. Returns a diagnosis if the engine died, or must not be inert."""
        if not plan.chain:
            active = None if running.speculation.requested_mode == "none" and not plan.fallback_reason else False
            running.speculation = Status(plan.requested_mode, active=active or False, reason=plan.fallback_reason)
            return None
        import httpx2  # imported here, as in until_ready

        from app.supervisor.speculation_check import gather

        child = running.child
        gathering = asyncio.ensure_future(gather(running.address, plan.chain, child.log))
        gone = asyncio.ensure_future(child.wait())
        limit = self.limits.whole(size)
        try:
            await asyncio.wait({gathering, gone}, return_when=asyncio.FIRST_COMPLETED, timeout=limit)
            if gone.done():
                return ended_early(gone.result(), child.log)
            if not gathering.done():
                late = f"no answer to the warm-up within {limit:g} s"
                return diagnose(None, tuple(child.log), hung=late)
            evidence = gathering.result()
        except (httpx2.HTTPError, ValueError) as error:
            # A crash closes the connection before the process is gone.
            with suppress(TimeoutError):
                return ended_early(await asyncio.wait_for(child.wait(), 2), child.log)
            cause = f"The warm-up got no answer: {type(error).__name__}."
            return Diagnosis("no_proof", cause, LOG_SAYS_MORE, permanent=False, log_tail=last_lines(child.log))
        finally:
            gathering.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError, httpx2.HTTPError, ValueError):
                await gathering
        status = judge(plan.requested_mode, named(plan.chain), draft_mode=drafts(plan.chain), evidence=evidence)
        # A part of the chain may be on; the reason why the rest is off stays.
        status = replace(status, reason=" ".join(filter(None, (plan.fallback_reason, status.reason))))
        running.speculation = status
        if not status.active and plan.fallback is None:
            advice = "Set `on_inert: plain` to serve this model without speculation."
            cause = f"Speculation is not on: {status.reason}."
            return Diagnosis("speculation_inert", cause, advice, permanent=True, log_tail=last_lines(child.log))
        return None

    async def _restored(self, running: Running) -> Diagnosis | None:
        """Restores the engine's slots; returns a diagnosis if it crashed meanwhile."""
        conversations = self._conversations_on(running.host)
        if conversations is None or running.kept_slots is None:
            return None
        await conversations.restore(running.kept_slots, running.address)
        if (ended := running.child.ended) is not None:
            return ended_early(ended, running.child.log)
        return None

    async def save_conversations(self) -> None:
        """Saves the slots of an idle engine that is about to be ended; gives up after two seconds."""
        running = self.running
        conversations = self._conversations_on(running.host) if running else None
        if conversations is None or running is None or running.kept_slots is None:
            return
        if not await conversations.save(running.kept_slots, running.address):
            # It is still writing, and would use its whole grace for that
            self.hurry.set()

    async def end(self) -> None:
        """SIGTERM, grace, SIGKILL; returns when the child is reaped. Does nothing without a child."""
        if (running := self.running) is not None:
            await running.child.terminate(self.limits.grace, self.hurry)
            self.forget()
            conversations = self._conversations_on(running.host)
            if conversations is not None and running.kept_slots is not None:
                await conversations.ended(running.kept_slots)

    def _conversations_on(self, host: Host) -> Conversations | None:
        return self._conversations.on(host) if self._conversations else None

    def forget(self) -> None:
        """Forgets a child that is gone."""
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
