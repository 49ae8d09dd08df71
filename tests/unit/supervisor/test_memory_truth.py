"""What engines are found to take holds instead of estimates; what a start ran out of is learned."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.engine.devices import Device
from app.engine.launch import LaunchPlan
from app.engine.nvml import Nvml
from app.errors import Diagnosis, InsufficientMemoryError
from app.records.database import Database
from app.records.footprints import Footprints, HeldMemory
from app.scheduler.memory_book import MemoryBook
from app.supervisor.memory_sight import SeenMemory
from app.supervisor.memory_truth import MemoryTruth, RunningPlan
from tests.support.architectures import write_llama
from tests.support.scripted_nvml import ScriptedCard, scripted_nvml

GIB, MIB = 1 << 30, 1 << 20
CARD = Device("CUDA0", "A fake GPU", 8 * GIB, 8 * GIB)
REPORT = (
    "load_tensors:        CUDA0 model buffer size =   700.00 MiB",
    "load_tensors:   CPU_Mapped model buffer size =    20.00 MiB",
    "llama_kv_cache:      CUDA0 KV buffer size =   200.00 MiB",
    "sched_reserve:      CUDA0 compute buffer size =   100.00 MiB",
)
OUT = Diagnosis("device_memory", "Not enough memory on device 0: 300.00 MiB could not be allocated.", "", False)

Make = Callable[..., MemoryBook]


def plan_of(path: Path, alias: str = "m", **changes: Any) -> LaunchPlan:
    argv = ("llama-server", "-m", str(path), "-c", "65536", "-np", "1", "--port", "1")
    return replace(LaunchPlan(alias, argv, {}, (path,), ()), **changes)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "m.gguf")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A book of a machine with a card; its records are in one folder."""

    def made(*up: str, setting: object = "auto", nvml: Nvml | None = None, devices: Any = (CARD,)) -> MemoryBook:
        database = Database(tmp_path / "state")
        truth = MemoryTruth(Footprints(database), nvml)
        seen = SeenMemory(devices, 32 * GIB)
        book = MemoryBook(setting, GIB, lambda: seen, lambda: up, truth=truth)  # type: ignore[arg-type]
        book.write = database.close  # type: ignore[attr-defined]
        return book

    return made


def up(plan: LaunchPlan, *log: str) -> RunningPlan:
    return RunningPlan(plan, os.getpid(), log)


def test_the_engines_own_report_holds_and_is_kept(make: Make, model: Path) -> None:
    """From then on, and at the next start, also of another gateway."""
    book, plan = make("m"), plan_of(model)
    asyncio.run(book.planned("m", plan))
    estimated = book.needs("m")["CUDA0"]
    asyncio.run(book.came_up("m", up(plan, *REPORT)))
    assert book.needs("m") == {"host": 20 * MIB, "CUDA0": 1000 * MIB} and estimated < 1000 * MIB
    assert book.measured("m") == book.needs("m") and book.expected("m")["CUDA0"] == estimated
    book.write()  # type: ignore[attr-defined]
    later = make()
    asyncio.run(later.planned("m", replace(plan, env={"HOME": "/elsewhere", "LANG": "C"})))
    assert later.needs("m") == {"host": 20 * MIB, "CUDA0": 1000 * MIB}
    asyncio.run(later.planned("m", plan_of(model, argv=(*plan.argv, "-ub", "256"))))
    assert later.needs("m")["CUDA0"] < 1000 * MIB, "another plan takes what it takes"


def test_an_engine_that_has_ended_is_expected_to_take_what_it_took(make: Make, model: Path) -> None:
    book, plan = make("m"), plan_of(model)
    asyncio.run(book.planned("m", plan))
    assert book.measured("m") == {} and book.expected("m") == book.needs("m") != {}
    asyncio.run(book.came_up("m", up(plan, *REPORT)))
    book.left("m")
    assert book.measured("m") == {} and book.expected("m") == {"host": 20 * MIB, "CUDA0": 1000 * MIB}


def test_nvml_and_the_process_tell_what_the_engine_does_not(make: Make, model: Path) -> None:
    nvml = Nvml(scripted_nvml(ScriptedCard("A fake GPU", 8192, "GPU-1", {os.getpid(): 1234})))
    book, plan = make("m", nvml=nvml), plan_of(model)
    asyncio.run(book.planned("m", plan))
    asyncio.run(book.came_up("m", up(plan, "srv  llama_server: model loaded")))
    assert book.needs("m")["CUDA0"] == 1234 * MIB
    assert book.needs("m")["host"] > 10 * MIB


def test_an_entry_that_sees_one_card_only_is_measured_on_that(
    make: Make, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls its card CUDA0; to the gateway it is the second, before and after it is measured."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    held = [ScriptedCard("A fake GPU", 8192, "GPU-1"), ScriptedCard("A fake GPU", 8192, "GPU-2", {os.getpid(): 700})]
    book = make("m", nvml=Nvml(scripted_nvml(*held)), devices=(CARD, replace(CARD, name="CUDA1")))
    plan = plan_of(model, env={"CUDA_VISIBLE_DEVICES": "1"})
    plan = replace(plan, argv=(*plan.argv, "--device", "CUDA0"))
    asyncio.run(book.planned("m", plan))
    assert "CUDA0" not in book.needs("m") and book.needs("m")["CUDA1"] > 0
    asyncio.run(book.came_up("m", up(plan)))
    assert (book.needs("m")["CUDA0"], book.needs("m")["CUDA1"]) == (0, 700 * MIB)
    asyncio.run(book.came_up("m", up(plan, *REPORT)))
    assert book.needs("m")["CUDA1"] == 1000 * MIB


def test_a_device_that_nobody_tells_of_keeps_its_estimate(make: Make, model: Path) -> None:
    book, plan = make("m", nvml=Nvml(scripted_nvml())), plan_of(model)
    asyncio.run(book.planned("m", plan))
    estimated = dict(book.needs("m"))
    asyncio.run(book.came_up("m", up(plan)))
    assert book.needs("m")["CUDA0"] == estimated["CUDA0"] and book.needs("m")["host"] != estimated["host"]


def test_what_was_found_too_large_is_refused_with_its_source(make: Make, model: Path) -> None:
    """The changes that would help count what the estimate lacks."""
    book, plan = make("m"), plan_of(model)
    asyncio.run(book.planned("m", plan))
    asyncio.run(book.came_up("m", up(plan, *REPORT)))
    book.write()  # type: ignore[attr-defined]
    small = make(setting={"CUDA0": 900 * MIB})
    with pytest.raises(InsufficientMemoryError, match=r"CUDA0 needs 1000.00 MiB of 900.00 MiB") as caught:
        asyncio.run(small.planned("m", plan))
    assert caught.value.figures["measured"] == {"host": "engine", "CUDA0": "engine"}
    assert caught.value.figures["footprint"]["CUDA0"] == 1000 * MIB
    assert any(words.startswith("ctx_size: ") for words in caught.value.figures["would_fit_with"])


def test_growth_counts_while_an_engine_is_up(make: Make, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it keeps of prompts; its next start begins without."""
    monkeypatch.setattr("app.scheduler.memory_book.AGAIN_S", 0.0)
    card = ScriptedCard("A fake GPU", 8192, "GPU-1", {os.getpid(): 500})
    book, plan = make("m", nvml=Nvml(scripted_nvml(card))), plan_of(model)
    asyncio.run(book.planned("m", plan))
    asyncio.run(book.came_up("m", up(plan)))
    card.processes = {os.getpid(): 800}
    asyncio.run(book.look())
    assert book.needs("m")["CUDA0"] == 800 * MIB
    card.processes = {os.getpid(): 100}
    asyncio.run(book.look())
    assert book.needs("m")["CUDA0"] == 800 * MIB, "what it had once it may have again"
    book.left("m")
    assert book.needs("m")["CUDA0"] == 500 * MIB


def test_running_out_beside_others_is_learned(make: Make, model: Path) -> None:
    """It does not fit beside them, whatever was worked out; alone it may. Kept once it has come up."""
    book, plan = make(nvml=Nvml(scripted_nvml()), setting={"CUDA0": 600 * MIB}), plan_of(model)
    for alias in "ab":
        asyncio.run(book.planned(alias, plan_of(model, alias)))
    assert book.holds(["a", "b"])
    book.starved("b", OUT, ["a"])
    assert not book.holds(["a", "b"]) and book.needs("b")["CUDA0"] <= 600 * MIB
    learned = book.needs("b")["CUDA0"]
    asyncio.run(book.planned("b", plan_of(model, "b")))
    assert book.needs("b")["CUDA0"] == learned, "a second look forgets nothing"
    asyncio.run(book.came_up("b", up(plan_of(model, "b"))))
    book.write()  # type: ignore[attr-defined]
    later = make(setting={"CUDA0": 600 * MIB})
    asyncio.run(later.planned("b", plan))
    assert later.needs("b")["CUDA0"] == learned


def test_a_start_that_succeeds_beside_the_same_others_disproves_it(make: Make, model: Path) -> None:
    """Another program had the memory for a while."""
    book = make("a", "b", nvml=Nvml(scripted_nvml()), setting={"CUDA0": 600 * MIB})
    for alias in "ab":
        asyncio.run(book.planned(alias, plan_of(model, alias)))
    estimated = book.needs("b")["CUDA0"]
    book.starved("b", OUT, ["a"])
    asyncio.run(book.came_up("b", up(plan_of(model, "b"))))
    assert book.needs("b")["CUDA0"] == estimated and book.holds(["a", "b"])
    book.write()  # type: ignore[attr-defined]
    later = make(setting={"CUDA0": 600 * MIB})
    asyncio.run(later.planned("b", plan_of(model, "b")))
    assert later.needs("b")["CUDA0"] == estimated


def test_running_out_alone_teaches_nothing(make: Make, model: Path) -> None:
    """Another program may hold the memory, for now; so it is with memory of another device."""
    book = make("a", nvml=Nvml(scripted_nvml()))
    asyncio.run(book.planned("b", plan_of(model, "b")))
    before = dict(book.needs("b"))
    book.starved("b", OUT, [])
    book.starved("b", OUT, ["a"])
    assert book.needs("b") == before


@pytest.mark.parametrize(("budget", "raised"), [(600, True), (2000, False)])
def test_a_lack_of_memory_that_no_estimate_explains_teaches_nothing(
    make: Make, model: Path, budget: int, raised: bool
) -> None:
    """With several times its size free by the book, another program had taken it."""
    book = make(nvml=Nvml(scripted_nvml()), setting={"CUDA0": budget * MIB})
    for alias in "ab":
        asyncio.run(book.planned(alias, plan_of(model, alias)))
    before = book.needs("b")["CUDA0"]
    book.starved("b", OUT, ["a"])
    assert (book.needs("b")["CUDA0"] > before) == raised


def two_models(tmp_path: Path) -> tuple[LaunchPlan, LaunchPlan]:
    target, draft = write_llama(tmp_path / "t.gguf"), write_llama(tmp_path / "d.gguf")
    less = plan_of(target)
    return replace(less, argv=(*less.argv, "-md", str(draft)), draft_is_optional=True), less


@pytest.mark.parametrize(("budget", "left_out"), [(900, False), (300, True)])
def test_an_optional_draft_is_left_out_where_that_makes_it_fit(
    make: Make, tmp_path: Path, budget: int, left_out: bool
) -> None:
    whole, less = two_models(tmp_path)
    reasons: list[str] = []

    async def without_draft(reason: str) -> LaunchPlan:
        reasons.append(reason)
        return less

    book = make(setting={"CUDA0": budget * MIB})
    chosen = asyncio.run(book.planned("m", whole, without_draft))
    assert chosen is (less if left_out else whole)
    assert bool(reasons) == left_out
    if left_out:
        assert "optional draft is not loaded: with it CUDA0 needs" in reasons[-1]
    assert book.needs("m")["CUDA0"] <= budget * MIB


def test_a_draft_that_is_not_to_blame_is_not_dropped(make: Make, tmp_path: Path) -> None:
    """Without it the model fits no better; nor is one that is not optional."""
    whole, less = two_models(tmp_path)

    async def without_draft(_: str) -> LaunchPlan:
        return less

    with pytest.raises(InsufficientMemoryError, match="CUDA0 needs"):
        asyncio.run(make(setting={"CUDA0": 30 * MIB}).planned("m", whole, without_draft))
    firm = replace(whole, draft_is_optional=False)
    with pytest.raises(InsufficientMemoryError, match="no draft"):
        asyncio.run(make(setting={"CUDA0": 300 * MIB}).planned("m", firm, without_draft))


def test_figures_of_records_are_of_the_place_that_they_name(make: Make, model: Path) -> None:
    """A device that is gone since has no budget and is in nobody's way."""
    book, plan = make(), plan_of(model)
    asyncio.run(book._machine.keep(plan, {"CUDA7": HeldMemory(99 * GIB, source="nvml")}))
    book.write()  # type: ignore[attr-defined]
    asyncio.run(make().planned("m", plan))
