"""Saving and restoring against an engine that the test decides for: refusals, proofs, and time that runs out."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.config.conversations import ConversationLimits
from app.engine.launch import LaunchPlan
from app.records.metrics import Finished, Metrics
from app.supervisor import conversations as module
from app.supervisor.conversation_files import ConversationFiles, KeptSlots
from app.supervisor.conversations import Conversations
from app.supervisor.engine_slots import SlotHeld, SlotsRefusedError
from app.supervisor.readiness import EngineAddress

ADDRESS = EngineAddress("http://127.0.0.1:1", "key")
PLAN = LaunchPlan("m", ("llama-server", "--port", "1"), {}, (), (), saves_slots=True)
SHIPS, BIRDS = list(range(300)), list(range(1000, 1400))


class Slots:
    """The slots of an engine; what is set here happens."""

    def __init__(self) -> None:
        self.folder = Path()
        self.tokens: dict[int, list[int]] = {}
        self.tasks: dict[int, int] = {}
        self.count = 2
        self.effect = True
        self.asked: list[str] = []
        self.refusal: Exception | None = None
        self.misfits: set[str] = set()
        self.hangs = False

    def __call__(self, address: EngineAddress) -> Slots:
        return self

    async def __aenter__(self) -> Slots:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def held(self) -> list[SlotHeld]:
        return [
            SlotHeld(number, len(self.tokens.get(number, [])) if number in self.tasks else None, self.tasks.get(number))
            for number in range(self.count)
        ]

    async def save(self, number: int, name: str) -> tuple[int, int | None]:
        self.asked.append(f"save {number}")
        tokens = self.tokens[number]
        data = struct.pack(f"<3I{len(tokens)}I", 0x67677371, 2, len(tokens), *tokens)
        (self.folder / name).write_bytes(data)
        if self.hangs:
            await asyncio.Event().wait()
        if self.refusal is not None:
            raise self.refusal
        return len(tokens), len(data)

    async def erase(self, number: int) -> None:
        self.asked.append(f"erase {number}")

    async def restore(self, number: int, name: str) -> int:
        self.asked.append(f"restore {number}")
        if self.refusal is not None:
            raise self.refusal
        if name.split("-")[2] in self.misfits:
            raise SlotsRefusedError("no slot's file", lasting=False)
        return int(name.split("-")[2])

    async def reused(self, number: int, tokens: Sequence[int]) -> int | None:
        self.asked.append("proof")
        return len(tokens) if self.effect else 1


class Kept:
    """A gateway's conversations, and one engine's part in them."""

    def __init__(self, folder: Path, slots: Slots) -> None:
        self.metrics = Metrics()
        self.slots = slots
        self.time = 1.8e9
        self.all = Conversations(ConversationFiles(folder), ConversationLimits(), self.metrics, now=lambda: self.time)

    async def start(self) -> KeptSlots:
        kept = await self.all.prepare(PLAN)
        if kept.folder is not None:
            self.slots.folder = kept.folder.path
        self.slots.asked.clear()
        await self.all.restore(kept, ADDRESS)
        return kept

    def files(self) -> list[str]:
        return sorted(path.name for path in self.slots.folder.glob("*-*"))

    def count(self, outcome: str) -> int:
        return self.metrics.conversations["m", outcome]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    slots = Slots()
    monkeypatch.setattr("app.supervisor.slot_transfer.EngineSlots", slots)
    return Kept(tmp_path, slots)


def use(slots: Slots) -> None:
    """Two conversations, the second slot's the later one."""
    slots.tokens, slots.tasks = {0: SHIPS, 1: BIRDS}, {0: 4, 1: 9}


def run(story: Callable[[], Any]) -> None:
    asyncio.run(story())


def test_the_latest_used_is_saved_first_and_restored_first(world: Kept) -> None:
    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        assert await world.all.save(kept, ADDRESS)
        assert world.slots.asked == ["save 1", "save 0"] and world.count("saved") == 2
        await world.start()
        first_proved = ["erase 0", "restore 0", "proof", "erase 0", "restore 0", "erase 1", "restore 1"]
        assert world.slots.asked == first_proved and world.count("restored") == 2
        await world.start()
        assert "proof" not in world.slots.asked  # once a plan

    run(story)


def test_a_restore_without_effect_ends_saving(world: Kept) -> None:
    """For this plan, and beyond the end of the gateway."""

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        await world.all.save(kept, ADDRESS)
        world.slots.effect = False
        kept = await world.start()
        assert kept.folder is None and "reuses 1 of 300 tokens" in world.all.why_not("m")
        assert world.files() == [] and world.count("failed") == 1
        assert await world.all.save(kept, ADDRESS) and world.files() == []
        assert "reuses 1 of 300" in (await world.start()).why_not

    run(story)


def test_a_model_that_was_removed_is_not_saved(world: Kept) -> None:
    """Its engine may have had answers to finish."""

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        world.all.use(ConversationLimits(), ["other"])
        assert await world.all.save(kept, ADDRESS) and world.files() == []

    run(story)


def test_a_build_that_saves_nothing_is_asked_once(world: Kept) -> None:
    """As beside a projector."""

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        world.slots.refusal = SlotsRefusedError("not supported by multimodal", lasting=True)
        assert await world.all.save(kept, ADDRESS)
        assert world.slots.asked == ["save 1"] and world.files() == []
        assert "not supported by multimodal" in (await world.start()).why_not

    run(story)


def test_a_save_that_takes_too_long_is_dropped(world: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends the engine is told that it is still busy with it."""
    monkeypatch.setattr(module, "SAVE_WITHIN_S", 0.01)

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        world.slots.hangs = True
        assert not await world.all.save(kept, ADDRESS)
        assert world.files() == [] and world.count("failed") == 1

    run(story)


def test_a_restored_slot_that_nobody_used_keeps_its_file(world: Kept) -> None:
    """The warm-up and the test of the restore have used it too."""

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        await world.all.save(kept, ADDRESS)
        before = world.files()
        kept = await world.start()
        assert await world.all.save(kept, ADDRESS) and world.files() == before
        world.slots.tasks[0] = 12
        world.slots.tokens[0] = [*SHIPS, 7]
        assert await world.all.save(kept, ADDRESS)
        assert len(world.files()) == 2 and world.files() != before and world.count("saved") == 3

    run(story)


def test_a_file_that_does_not_fit_makes_room_for_the_next(world: Kept) -> None:
    """In the test of the plan too."""

    async def story() -> None:
        world.slots.count = 3
        kept = await world.start()
        world.slots.tokens, world.slots.tasks = {0: SHIPS, 1: BIRDS, 2: [*range(5000, 5500)]}, {0: 4, 1: 9, 2: 2}
        await world.all.save(kept, ADDRESS)
        world.slots.misfits = {"300"}
        world.slots.count = 2
        await world.start()
        assert world.count("restored") == 2 and world.count("failed") == 1
        assert not any("-300-" in name for name in world.files())

    run(story)


def test_a_build_that_restores_nothing_is_asked_once(world: Kept) -> None:
    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        await world.all.save(kept, ADDRESS)
        world.slots.refusal = SlotsRefusedError("not supported by multimodal", lasting=True)
        kept = await world.start()
        assert "not supported by multimodal" in kept.why_not and world.files() == []
        assert world.count("failed") == 1

    run(story)


def test_a_model_that_was_replaced_while_it_was_loaded(
    world: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of the two the engine has read nobody knows."""
    model = tmp_path / "model.gguf"
    model.write_bytes(b"one")
    monkeypatch.setattr(sys.modules[__name__], "PLAN", replace(PLAN, files=(model,)))

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        await world.all.save(kept, ADDRESS)
        kept = await world.all.prepare(PLAN)
        model.write_bytes(b"another")
        world.slots.asked.clear()
        await world.all.restore(kept, ADDRESS)
        assert world.slots.asked == [] and "replaced" in world.all.why_not("m")
        assert await world.all.save(kept, ADDRESS) and world.slots.asked == []

    run(story)


def test_a_day_later_nothing_is_restored(world: Kept) -> None:
    """By the clock: what is older than `keep` goes before the engine sees it."""

    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        await world.all.save(kept, ADDRESS)
        world.time = 1.8e9 + 24 * 3600
        await world.start()
        assert world.count("restored") == 2
        world.time += 1
        await world.start()
        assert world.slots.asked == [] and world.files() == [] and world.count("restored") == 2

    run(story)


def test_an_engine_that_dies_while_it_saves_leaves_no_file(world: Kept) -> None:
    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        world.slots.refusal = httpx2.RemoteProtocolError("gone")
        assert await world.all.save(kept, ADDRESS)
        assert world.files() == [] and world.count("failed") == 1

    run(story)


def test_an_engine_that_dies_of_a_file_never_meets_it_again(world: Kept) -> None:
    async def story() -> None:
        kept = await world.start()
        use(world.slots)
        await world.all.save(kept, ADDRESS)
        world.slots.refusal = httpx2.RemoteProtocolError("gone")
        await world.start()
        assert world.files() == [] and world.count("failed") == 1

    run(story)


def test_what_is_spared_is_worth_what_reading_has_taken() -> None:
    """Once, and less what the restore took."""
    metrics = Metrics()
    metrics.finished(Finished("m", 200, 1.0, prompt_tokens=100, cached=0, reading=2.0))
    metrics.restored("m", 300, 0.5)
    again = Finished("m", 200, 1.0, prompt_tokens=300, cached=300, reading=0.0)
    metrics.finished(again)
    metrics.finished(again)
    assert metrics.conversation_seconds["m"] == pytest.approx(300 * 0.02 - 0.5)
