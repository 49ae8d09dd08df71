"""One save or one restore of an engine's slots, with verification of a plan's first restore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
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
# Seconds between two looks at a growing file
_LOOK_EVERY_S = 0.05
_SLIDING = "A model with a sliding window needs --swa-full in args"


class OutgrownError(Exception):
    """A slot's file became larger than the room for it. The engine is still writing."""


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

        A slot without requests since its restore keeps its present file. Raises OutgrownError.
        """
        try:
            held = await self._slots.held()
        except SlotsRefusedError as error:
            await self._give_up(f"llama-server does not list its slots: {error}", "saved")
            return
        tasks = self._kept_slots.tasks
        used = [slot for slot in held if slot.task is not None and slot.task != tasks.get(slot.number)]
        used = [slot for slot in used if slot.tokens is None or slot.tokens > least]
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
            self._failed("saved", _too_large(int(needed), room))
            return 0
        began = time.monotonic()
        part = self._folder.path / f"{when:013d}-{rank:04d}{PART}"
        tokens, written = await self._save_within(room, slot.number, part)
        size = await self._run(size_of_file, part)
        if tokens <= least:
            await self._run(remove_file, part)
            return 0
        if size == 0 or size > room or (written is not None and size != written):
            await self._run(remove_file, part)
            why = f"of {tokens} tokens the disk took {size_in_words(size)}, and not the rest"
            self._failed("saved", _too_large(size, room) if size > room else why)
            return 0
        await self._run(rename_file, part, slot_name(when, rank, tokens, size))
        self._metrics.conversations[self._kept_slots.alias, "saved"] += 1
        seconds = round(time.monotonic() - began, 3)
        log.info("conversation saved", alias=self._kept_slots.alias, tokens=tokens, bytes=size, seconds=seconds)
        return size

    async def _save_within(self, room: float, number: int, part: Path) -> tuple[int, int | None]:
        """Saves a slot, unless its file grows beyond `room` bytes: then raises OutgrownError.

        The size of a plan's first file is unknown before.
        """
        saving = asyncio.ensure_future(self._slots.save(number, part.name))
        try:
            while not (await asyncio.wait({saving}, timeout=_LOOK_EVERY_S))[0]:
                if (size := await self._run(size_of_file, part)) > room:
                    raise OutgrownError(_too_large(size, room))
            return saving.result()
        finally:
            saving.cancel()

    async def _bytes_a_token(self) -> float:
        """The least bytes per token of the plan's files; 0 without files."""
        saved = await self._run(PlanFolder.slots, self._folder)
        return min((slot.size / slot.tokens for slot in saved if slot.tokens), default=0.0)

    # -- restoring -----------------------------------------------------------------------------------------------

    async def restore(self, saved: Sequence[SavedSlot]) -> None:
        """Restores as many as the engine has slots, in this order. The plan's first restore is verified before."""
        try:
            held = await self._slots.held()
            candidates = [slot for slot in saved if await self._is_whole(slot)]
            if held and await self._verified(candidates, held[0].number):
                await self._restore_into(held, candidates)
                self._kept_slots.tasks = {slot.number: slot.task for slot in await self._slots.held()}
        except SlotsRefusedError as error:
            await self._give_up(f"llama-server does not restore slots: {error}")

    async def _restore_into(self, held: Sequence[SlotHeld], candidates: Sequence[SavedSlot]) -> None:
        """Restores a candidate into each slot, and the next one instead of a candidate that does not fit."""
        rest = iter(candidates)
        for place in held:
            for slot in rest:
                if await self._restore_one(slot, place.number):
                    break

    async def _verified(self, candidates: list[SavedSlot], number: int) -> bool:
        """Whether restores of this plan work. If it is unknown, the smallest file that fits is the test.

        Files that do not fit are removed from `candidates`.
        """
        if not candidates or await self._run(verdict_of, self._folder) is not None:
            return bool(candidates)
        for slot in sorted(candidates, key=lambda slot: slot.size):
            if await self._restore_one(slot, number, counts=False):
                try:
                    return await self._verify(slot, number)
                except SlotsRefusedError as error:  # a conversation that fills its context has no next token
                    await self._ignore(slot, f"llama-server says: {error}")
            candidates.remove(slot)
        return False

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
            if error.lasting:
                raise
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
        """Whether the engine uses what it has restored. The verdict is stored only if it is certain."""
        tokens = await self._run(SavedSlot.read_tokens, slot)
        has_media = (await self._run(SavedSlot.read_head, slot)).has_media
        if not tokens and not has_media:
            await self._give_up("no restore can be verified: the slot files of this llama-server lack their tokens")
            return False
        try:
            async with asyncio.timeout(_VERIFIED_WITHIN_S):
                reused = await self._slots.reused(number, tokens)
        except TimeoutError:
            self._failed("restored", f"not verified within {_VERIFIED_WITHIN_S:g} s")
            return False
        works = reused is not None and reused >= max(1, _VERIFIED_SHARE * len(tokens))
        if has_media and not works:
            # The text before the first medium may be too short, or the model cannot go back to it
            return True
        if not works:
            evidence = "it reports no reuse" if reused is None else f"it reuses {reused} of {len(tokens)} tokens"
            await self._give_up(f"this llama-server does not use restored slots: {evidence}. {_SLIDING}")
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


def _too_large(size: int, room: float) -> str:
    return f"its file takes {size_in_words(size)}, and the limit leaves {size_in_words(max(0, int(room)))}"
