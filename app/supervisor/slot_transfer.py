"""One save or one restore of an engine's slots, with verification of a plan's first restore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType

from app import logs
from app.records.metrics import Metrics
from app.supervisor.conversation_files import (
    PART,
    KeptSlots,
    PlanFolder,
    RestoreVerdict,
    SavedSlot,
    is_whole,
    remove_file,
    rename_file,
    size_of_file,
    slot_name,
    verdict_of,
)
from app.supervisor.engine_slots import EngineSlots, SlotHeld, SlotsRefusedError
from app.supervisor.host import RunsWork
from app.supervisor.readiness import EngineAddress
from app.terminal import size_in_words

log = logs.get_logger("engine")

# The share of the saved tokens that a restored slot must skip: it may read the last ones again
_VERIFIED_SHARE = 0.9
_VERIFIED_WITHIN_S = 10.0


class SlotTransfer:
    """Methods raise httpx2.HTTPError if the engine stops answering, and OSError."""

    def __init__(
        self, kept_slots: KeptSlots, address: EngineAddress, metrics: Metrics, run: RunsWork = asyncio.to_thread
    ) -> None:
        """`run` does the work on files."""
        assert kept_slots.folder is not None
        self._kept_slots = kept_slots
        self._folder: PlanFolder = kept_slots.folder
        self._metrics = metrics
        self._run = run
        self._slots = EngineSlots(address)

    async def __aenter__(self) -> SlotTransfer:
        await self._slots.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._slots.__aexit__(kind, error, trace)

    # -- saving --------------------------------------------------------------------------------------------------

    async def save(self, least: int, when: int, room: float) -> None:
        """Saves each used slot with more than `least` tokens, the latest used first, as long as `room` bytes last.

        A slot without requests since its restore keeps its present file.
        """
        held = await self._slots.held()
        used = [slot for slot in held if slot.task is not None and (slot.tokens is None or slot.tokens > least)]
        if not used:
            return
        await self._run(PlanFolder.make, self._folder)
        for rank, slot in enumerate(sorted(used, key=lambda slot: slot.task or 0, reverse=True)):
            try:
                room -= await self._save_one(slot, rank, least, when, room)
            except SlotsRefusedError as error:
                if error.lasting:
                    await self._give_up(f"llama-server does not save its slots: {error}", "saved")
                    return
                self._failed("saved", f"llama-server says: {error}")
        await self._run(PlanFolder.keep_only, self._folder, len(held))

    async def _save_one(self, slot: SlotHeld, rank: int, least: int, when: int, room: float) -> int:
        """Saves a slot; returns the bytes of its file."""
        if slot.tokens is not None and (needed := slot.tokens * await self._bytes_a_token()) > room:
            self._failed("saved", f"{slot.tokens} tokens take {size_in_words(int(needed))}, and less is free")
            return 0
        began = time.monotonic()
        part = self._folder.path / f"{when:013d}-{rank:04d}{PART}"
        tokens, written = await self._slots.save(slot.number, part.name)
        size = await self._run(size_of_file, part)
        if tokens <= least:
            await self._run(remove_file, part)
            return 0
        if size > room or size != (size if written is None else written):
            await self._run(remove_file, part)
            why = "less is free" if size > room else "the disk took less than that"
            self._failed("saved", f"{tokens} tokens take {size_in_words(written or size)}, and {why}")
            return 0
        await self._run(rename_file, part, slot_name(when, rank, tokens, size))
        self._metrics.conversations[self._kept_slots.alias, "saved"] += 1
        seconds = round(time.monotonic() - began, 3)
        log.info("conversation saved", alias=self._kept_slots.alias, tokens=tokens, bytes=size, seconds=seconds)
        return size

    async def _bytes_a_token(self) -> float:
        """Bytes per token of the plan's files; 0 without files."""
        saved = await self._run(PlanFolder.slots, self._folder)
        return max((slot.size / slot.tokens for slot in saved if slot.tokens), default=0.0)

    # -- restoring -----------------------------------------------------------------------------------------------

    async def restore(self, saved: Sequence[SavedSlot]) -> None:
        """Restores as many as the engine has slots, in this order. The plan's first restore is verified before."""
        held = await self._slots.held()
        whole = [slot for slot in saved[: len(held)] if await self._is_whole(slot)]
        if not whole:
            return
        if await self._run(verdict_of, self._folder) is None:
            smallest = min(whole, key=lambda slot: slot.size)
            if not await self._verify(smallest, held[0].number):
                return
        for slot, place in zip(whole, held, strict=False):
            await self._restore_one(slot, place.number)

    async def _is_whole(self, slot: SavedSlot) -> bool:
        if await self._run(is_whole, slot):
            return True
        await self._ignore(slot, "the file has another size than it was saved with")
        return False

    async def _restore_one(self, slot: SavedSlot, number: int, *, counts: bool = True) -> bool:
        began = time.monotonic()
        try:
            await self._slots.erase(number)
            tokens = await self._slots.restore(number, slot.path.name)
        except SlotsRefusedError as error:
            await self._ignore(slot, f"llama-server says: {error}")
            return False
        if tokens != slot.tokens:
            await self._ignore(slot, f"llama-server has restored {tokens} of {slot.tokens} tokens")
            return False
        if counts:
            seconds = time.monotonic() - began
            self._metrics.restored(self._kept_slots.alias, tokens, seconds)
            log.info("conversation restored", alias=self._kept_slots.alias, tokens=tokens, seconds=round(seconds, 3))
        return True

    async def _verify(self, slot: SavedSlot, number: int) -> bool:
        """Whether the engine uses what it restores. The verdict is stored only if it is certain."""
        tokens = await self._run(SavedSlot.read_tokens, slot)
        if not tokens:
            await self._give_up("no restore can be verified: the slot files of this llama-server lack their tokens")
            return False
        if not await self._restore_one(slot, number, counts=False):
            return False
        try:
            async with asyncio.timeout(_VERIFIED_WITHIN_S):
                reused = await self._slots.reused(number, tokens)
        except TimeoutError:
            self._failed("restored", f"not verified within {_VERIFIED_WITHIN_S:g} s")
            return False
        if reused is None or reused < _VERIFIED_SHARE * len(tokens):
            evidence = "it reports no reuse" if reused is None else f"it reuses {reused} of {len(tokens)} tokens"
            await self._give_up(f"this llama-server does not use restored slots: {evidence}")
            return False
        await self._run(PlanFolder.judge, self._folder, RestoreVerdict(works=True))
        return True

    async def _ignore(self, slot: SavedSlot, why: str) -> None:
        await self._run(remove_file, slot.path)
        self._failed("restored", why)

    async def _give_up(self, reason: str, what: str = "restored") -> None:
        """Saves nothing more for this plan."""
        await self._run(PlanFolder.judge, self._folder, RestoreVerdict(works=False, reason=reason))
        self._failed(what, reason)
        self._kept_slots.folder, self._kept_slots.why_not = None, reason

    def _failed(self, what: str, why: str) -> None:
        self._metrics.conversations[self._kept_slots.alias, "failed"] += 1
        log.warning(f"a conversation was not {what}: {why}", alias=self._kept_slots.alias)
