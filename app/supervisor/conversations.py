"""Keeps conversations over a swap: saves slots of a drained engine, and restores them before it is READY again.

The first restore of a plan is verified: the engine must skip the restored tokens of the prompt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from app import logs
from app.config.conversations import ConversationLimits
from app.engine.launch import LaunchPlan
from app.errors import HostLostError
from app.records.metrics import Metrics
from app.supervisor.conversation_files import ConversationFiles, KeptSlots, PlanFolder, remove_file, tidy, verdict_of
from app.supervisor.host import LOCAL, Host, RunsWork
from app.supervisor.readiness import EngineAddress, fingerprint

if TYPE_CHECKING:
    from app.supervisor.slot_transfer import SlotTransfer

log = logs.get_logger("engine")

# Shorter conversations are not worth a file
LEAST_TOKENS = 256
# The longest delays of a swap by a save, and of a load by a restore
SAVE_WITHIN_S, RESTORE_WITHIN_S = 2.0, 30.0
_EXPIRE_EVERY_S = 600.0


class Conversations:
    """The conversations of all engines. A failure is logged, and never fails a start or a stop."""

    def __init__(
        self,
        files: ConversationFiles,
        limits: ConversationLimits,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
        run: RunsWork = asyncio.to_thread,
        machine: str = LOCAL,
    ) -> None:
        """`now` gives seconds since the epoch. `run` does the work on files where the engines run: on `machine`."""
        self.limits = limits
        self._files = files
        self._metrics = metrics
        self._now = now
        self._run = run
        self._machine = machine
        # Those of engines on nodes, by node
        self._on_nodes: dict[str, Conversations] = {}
        # Bytes by machine
        self._sizes: dict[str, int] = {}
        self._expiring: asyncio.Task[None] | None = None
        # Of reloads
        self._tidying: set[asyncio.Task[None]] = set()
        # None until the models are known
        self._aliases: frozenset[str] | None = None
        # By alias, of its last start
        self._kept: dict[str, KeptSlots] = {}

    def why_not(self, alias: str) -> str:
        """The reason why this model's conversations are not kept, unless a setting says so; empty if they are."""
        return self._kept[alias].why_not if alias in self._kept and self.limits.on else ""

    # -- nodes ---------------------------------------------------------------------------------------------------

    def on(self, host: Host) -> Conversations | None:
        """Those of engines on this host; None for a node that is lost."""
        return self if host.name == self._machine else self._on_nodes.get(host.name)

    def joined(self, host: Host, files: ConversationFiles) -> None:
        """Keeps conversations of engines on a node, in `files` there."""
        self.lost(host.name)
        there = Conversations(files, self.limits, self._metrics, self._now, host.run, host.name)
        there._kept, there._sizes = self._kept, self._sizes
        self._on_nodes[host.name] = there
        if self._aliases is not None:
            there.watch(self._aliases)

    def lost(self, node: str) -> None:
        """Forgets a node. Its files stay there."""
        if (there := self._on_nodes.pop(node, None)) is not None:
            there.stop()
        self._sizes.pop(node, None)

    # -- files ---------------------------------------------------------------------------------------------------

    def watch(self, aliases: Collection[str]) -> None:
        """Deletes files of all other models, and from now on those that are too old."""
        self._aliases = frozenset(aliases)
        self._expiring = asyncio.create_task(self._expire_for_ever(list(aliases)), name="conversations")

    async def _expire_for_ever(self, aliases: list[str]) -> None:
        with suppress(HostLostError):
            await self._run(ConversationFiles.forget_all_but, self._files, aliases)
            await self._run(ConversationFiles.remove_parts, self._files)
            while True:
                await self.expire()
                await asyncio.sleep(_EXPIRE_EVERY_S)

    async def expire(self) -> None:
        """Deletes files that are too old or too many."""
        await self._run(ConversationFiles.expire, self._files, self.limits, self._now())
        self._note_size(await self._run(ConversationFiles.size, self._files))

    def _note_size(self, size: int) -> None:
        self._sizes[self._machine] = size
        self._metrics.conversation_bytes = sum(self._sizes.values())

    def use(self, limits: ConversationLimits, aliases: Collection[str]) -> None:
        """Applies changed settings, and deletes the files of removed models."""
        changed, self.limits, self._aliases = limits != self.limits, limits, frozenset(aliases)
        tidying = asyncio.create_task(self._forget(list(aliases), expire=changed), name="conversations of a reload")
        self._tidying.add(tidying)
        tidying.add_done_callback(self._tidying.discard)
        for there in self._on_nodes.values():
            there.use(limits, aliases)

    async def _forget(self, aliases: list[str], *, expire: bool) -> None:
        with suppress(HostLostError):
            await self._run(ConversationFiles.forget_all_but, self._files, aliases)
            if expire:
                await self.expire()

    def stop(self) -> None:
        """Deletes no more old files."""
        if self._expiring is not None:
            self._expiring.cancel()

    async def close(self) -> None:
        for node in tuple(self._on_nodes):
            self.lost(node)
        if self._expiring is not None:
            self.stop()
            await asyncio.wait({self._expiring, *self._tidying})

    # -- one engine ----------------------------------------------------------------------------------------------

    async def prepare(self, plan: LaunchPlan) -> KeptSlots:
        """Before a start: chooses the folder, or a reason for saving nothing."""
        kept_slots = self._kept[plan.alias] = KeptSlots(plan.alias, plan=plan)
        if not self.limits.on or not plan.saves_slots:
            kept_slots.why_not = plan.why_unsaved if self.limits.on else ""
            if kept_slots.why_not:
                log.warning(f"conversations are not kept: {kept_slots.why_not}", alias=plan.alias)
            return kept_slots
        try:
            before = kept_slots.fingerprint = await self._run(fingerprint, plan)
            folder = await self._run(ConversationFiles.folder, self._files, plan.alias, before, self.limits.keep)
            await self._run(ConversationFiles.expire, self._files, self.limits, self._now())
            verdict = await self._run(verdict_of, folder)
        except OSError as error:
            kept_slots.why_not = f"their folder cannot be used: {error}"
            log.warning(f"conversations are not kept: {kept_slots.why_not}", alias=plan.alias)
            return kept_slots
        if verdict is not None and not verdict.works:
            kept_slots.why_not = verdict.reason
        else:
            kept_slots.folder = folder
        return kept_slots

    async def restore(self, kept_slots: KeptSlots, address: EngineAddress) -> None:
        """Before READY: restores as many conversations as there are slots, the most recent first."""
        if kept_slots.folder is None or not await self._is_unchanged(kept_slots):
            return
        saved = await self._run(PlanFolder.slots, kept_slots.folder)
        if not saved:
            return
        import httpx2  # imported here, since the import takes 80 ms

        try:
            async with asyncio.timeout(RESTORE_WITHIN_S), self._transfer(kept_slots, address) as transfer:
                await transfer.restore(saved)
        except TimeoutError:
            self._failed(kept_slots, "restored", f"it took longer than {RESTORE_WITHIN_S:g} s")
        except (httpx2.HTTPError, OSError) as error:
            # The engine may have crashed at a file: the next start must not read it again.
            for slot in saved:
                await self._run(remove_file, slot.path)
            self._failed(kept_slots, "restored", f"the engine gave no answer ({type(error).__name__})")

    async def _is_unchanged(self, kept_slots: KeptSlots) -> bool:
        """Whether no file of the plan was replaced during the load: the engine may have read either."""
        if kept_slots.plan is None or await self._run(fingerprint, kept_slots.plan) == kept_slots.fingerprint:
            return True
        kept_slots.folder, kept_slots.why_not = None, "a file of the model was replaced while it was loaded"
        log.warning(f"conversations are not kept: {kept_slots.why_not}", alias=kept_slots.alias)
        return False

    async def save(self, kept_slots: KeptSlots, address: EngineAddress) -> bool:
        """Before an idle engine is ended: saves its slots. Returns False if the engine may still be writing."""
        if (folder := kept_slots.folder) is None or not self.limits.on:
            return True
        if self._was_removed(kept_slots.alias):
            return True  # while its engine still answered
        import httpx2

        from app.supervisor.slot_transfer import OutgrownError

        try:
            async with asyncio.timeout(SAVE_WITHIN_S), self._transfer(kept_slots, address) as transfer:
                room = await self._run(ConversationFiles.room, self._files, self.limits)
                await transfer.save(LEAST_TOKENS, int(self._now() * 1000), room)
        except TimeoutError:
            self._failed(kept_slots, "saved", f"it took longer than {SAVE_WITHIN_S:g} s")
            return False
        except OutgrownError as error:
            self._failed(kept_slots, "saved", str(error))
            return False
        except (httpx2.HTTPError, OSError) as error:
            self._failed(kept_slots, "saved", f"{type(error).__name__}: {error}")
        finally:
            await asyncio.shield(self._tidy(kept_slots.alias, folder))
        return True

    def _was_removed(self, alias: str) -> bool:
        return self._aliases is not None and alias not in self._aliases

    def _transfer(self, kept_slots: KeptSlots, address: EngineAddress) -> SlotTransfer:
        from app.supervisor.slot_transfer import SlotTransfer  # It imports httpx2

        return SlotTransfer(kept_slots, address, self._metrics, self._run)

    async def _tidy(self, alias: str, folder: PlanFolder) -> None:
        if self._was_removed(alias):
            await self._run(ConversationFiles.forget, self._files, alias)
        size = await self._run(tidy, self._files, folder, self.limits, self._now())
        self._note_size(size)

    async def ended(self, kept_slots: KeptSlots) -> None:
        """After the engine's exit: deletes the files of interrupted saves."""
        if kept_slots.folder is not None:
            with suppress(HostLostError):
                await self._run(PlanFolder.remove_parts, kept_slots.folder)

    def _failed(self, kept_slots: KeptSlots, what: str, why: str) -> None:
        self._metrics.conversations[kept_slots.alias, "failed"] += 1
        log.warning(f"conversations were not {what}: {why}", alias=kept_slots.alias)
