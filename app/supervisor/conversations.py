"""Conversations survive a swap: slots are saved when their engine is drained, and restored before it is READY again.

Nothing is believed that was not seen: the first restore of a plan is proved by what the engine need not read again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from app import logs
from app.config.conversations import ConversationLimits
from app.engine.launch import LaunchPlan
from app.records.metrics import Metrics
from app.supervisor.conversation_files import ConversationFiles, KeptSlots, PlanFolder
from app.supervisor.readiness import EngineAddress, fingerprint

log = logs.get_logger("engine")

# What fewer tokens would win is not worth a file
LEAST_TOKENS = 256
# A save delays a swap by so much at the most, and a restore a load
SAVE_WITHIN_S, RESTORE_WITHIN_S = 2.0, 30.0
_EXPIRE_EVERY_S = 600.0


class Conversations:
    """Of all engines. What goes wrong with them is a line in the log, and never the end of a start or a stop."""

    def __init__(
        self,
        files: ConversationFiles,
        limits: ConversationLimits,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` gives seconds since the epoch."""
        self.limits = limits
        self._files = files
        self._metrics = metrics
        self._now = now
        self._expiring: asyncio.Task[None] | None = None
        # None for as long as nobody has told
        self._aliases: frozenset[str] | None = None
        # Of each alias's last start
        self._kept: dict[str, KeptSlots] = {}

    def why_not(self, alias: str) -> str:
        """Why the conversations of this model are not kept, where that is no setting; empty where they are."""
        return self._kept[alias].why_not if alias in self._kept and self.limits.on else ""

    # -- the files' life -----------------------------------------------------------------------------------------

    def watch(self, aliases: Collection[str]) -> None:
        """Ends files of models that are not among these, and from now on what is too old."""
        self._aliases = frozenset(aliases)
        self._expiring = asyncio.create_task(self._expire_for_ever(list(aliases)), name="conversations")

    async def _expire_for_ever(self, aliases: list[str]) -> None:
        await asyncio.to_thread(self._files.forget_all_but, aliases)
        while True:
            await self.expire()
            await asyncio.sleep(_EXPIRE_EVERY_S)

    async def expire(self) -> None:
        """Ends what is too old or too much."""
        await asyncio.to_thread(self._files.expire, self.limits, self._now())
        self._metrics.conversation_bytes = await asyncio.to_thread(self._files.size)

    def use(self, limits: ConversationLimits, aliases: Collection[str]) -> None:
        """Changed settings: of models that are gone nothing stays."""
        changed, self.limits, self._aliases = limits != self.limits, limits, frozenset(aliases)
        self._files.forget_all_but(list(aliases))
        if changed:
            self._files.expire(limits, self._now())

    async def close(self) -> None:
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.wait({self._expiring})

    # -- one engine ----------------------------------------------------------------------------------------------

    async def prepare(self, plan: LaunchPlan) -> KeptSlots:
        """Before a start: a folder, or none and why."""
        kept = self._kept[plan.alias] = KeptSlots(plan.alias)
        if not self.limits.on or not plan.saves_slots:
            kept.why_not = plan.why_unsaved if self.limits.on else ""
            if kept.why_not:
                log.warning(f"conversations are not kept: {kept.why_not}", alias=plan.alias)
            return kept
        try:
            folder = await asyncio.to_thread(self._files.folder, plan.alias, fingerprint(plan))
            await asyncio.to_thread(self._files.expire, self.limits, self._now())
            verdict = await asyncio.to_thread(lambda: folder.verdict)
        except OSError as error:
            kept.why_not = f"their folder cannot be used: {error}"
            log.warning(f"conversations are not kept: {kept.why_not}", alias=plan.alias)
            return kept
        if verdict is not None and not verdict.works:
            kept.why_not = verdict.reason
        else:
            kept.folder = folder
        return kept

    async def restore(self, kept: KeptSlots, address: EngineAddress) -> None:
        """Before READY: as many as there are slots, the most recent first."""
        if kept.folder is None:
            return
        saved = await asyncio.to_thread(kept.folder.slots)
        if not saved:
            return
        import httpx2  # late: it takes 80 ms to import

        from app.supervisor.slot_transfer import SlotTransfer

        try:
            async with asyncio.timeout(RESTORE_WITHIN_S), SlotTransfer(kept, address, self._metrics) as transfer:
                await transfer.restore(saved)
        except TimeoutError:
            self._failed(kept, "restored", f"it took longer than {RESTORE_WITHIN_S:g} s")
        except (httpx2.HTTPError, OSError) as error:
            # It may have died of a file: the next start must not meet it.
            for slot in saved:
                await asyncio.to_thread(slot.path.unlink, missing_ok=True)
            self._failed(kept, "restored", f"the engine gave no answer ({type(error).__name__})")

    async def save(self, kept: KeptSlots, address: EngineAddress) -> bool:
        """Before an engine that has nothing to do is ended; whether the engine is free again."""
        if (folder := kept.folder) is None or not self.limits.on:
            return True
        if self._aliases is not None and kept.alias not in self._aliases:
            return True  # removed while its engine still answered
        import httpx2

        from app.supervisor.slot_transfer import SlotTransfer

        try:
            async with asyncio.timeout(SAVE_WITHIN_S), SlotTransfer(kept, address, self._metrics) as transfer:
                room = await asyncio.to_thread(self._files.room, self.limits)
                await transfer.save(LEAST_TOKENS, int(self._now() * 1000), room)
        except TimeoutError:
            self._failed(kept, "saved", f"it took longer than {SAVE_WITHIN_S:g} s")
            return False
        except (httpx2.HTTPError, OSError) as error:
            self._failed(kept, "saved", f"{type(error).__name__}: {error}")
        finally:
            await asyncio.shield(asyncio.to_thread(self._tidy, folder))
        return True

    def _tidy(self, folder: PlanFolder) -> None:
        folder.remove_parts()
        self._files.expire(self.limits, self._now())
        self._metrics.conversation_bytes = self._files.size()

    async def ended(self, kept: KeptSlots) -> None:
        """Behind the process: what it has written of a save that was given up."""
        if kept.folder is not None:
            await asyncio.to_thread(kept.folder.remove_parts)

    def _failed(self, kept: KeptSlots, what: str, why: str) -> None:
        self._metrics.conversations[kept.alias, "failed"] += 1
        log.warning(f"conversations were not {what}: {why}", alias=kept.alias)
