"""Plans and memory of a node beside this machine's, without Ray between them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cluster.node_memory import RemoteMemory
from app.cluster.node_plans import NodePlans
from app.cluster.remote import RemoteHost
from app.config.conversations import ConversationLimits
from app.config.model_entry import Files, LocalEntry
from app.errors import FilesMissingError, HostLostError, InsufficientMemoryError, NoNodeError
from app.models.ref import ModelRef
from app.records.ledger import ColdStart, Measurement, TuningRecord
from app.records.metrics import Metrics
from app.scheduler.host_plans import HostPlans
from app.scheduler.memory_book import MemoryBook
from app.scheduler.memory_books import MemoryBooks
from app.scheduler.node_places import NodePlaces
from app.scheduler.snapshot import HostView
from app.supervisor.conversation_files import ConversationFiles
from app.supervisor.conversations import Conversations
from app.supervisor.host import LocalHost, PlacedPlan
from app.supervisor.machine_memory import SeenMemory
from app.supervisor.memory_truth import RunningPlan
from tests.support.architectures import write_llama
from tests.support.gateway import fake_llama_server
from tests.support.node import a_node
from tests.unit.supervisor.test_conversations import ADDRESS, PLAN, Slots, use

# The agent looks at every process of the machine; psutil leaves the file of one that ends meanwhile to the collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
GIB, MIB = 1 << 30, 1 << 20


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model for the node's fake engine, which lists a card of 8 GiB."""
    monkeypatch.setenv("TANDEM_LLAMA_SERVER", str(fake_llama_server(tmp_path)))
    monkeypatch.setenv("TANDEM_STATE_DIR", str(tmp_path / "node-state"))
    monkeypatch.setenv("TANDEM_CACHE_DIR", str(tmp_path / "node-cache"))
    monkeypatch.setenv("GGML_FAKE_GPU_MIB", "8192")
    return write_llama(tmp_path / "m.gguf")


def entry(path: Path, *nodes: str) -> LocalEntry:
    return LocalEntry(target=Files.model_validate({"path": str(path)}), ctx_size=512, nodes=nodes)


class World:
    """A scheduler's records of this machine and one node. `here` is what this machine says of each entry."""

    def __init__(self, host: RemoteHost, setting: Any = "auto") -> None:
        self.up: list[str] = []
        self.places = NodePlaces(lambda _: None)
        self.places.be_there([HostView("local"), HostView("box1")])
        own = MemoryBook(setting, 0, lambda: SeenMemory((), 32 * GIB))
        self.books = MemoryBooks(own, self.places, lambda _, machine: self.book(setting, machine))
        self.books.joined("box1", RemoteMemory(host))
        changed = asyncio.Event()
        self.membership: Any = SimpleNamespace(
            hosts={"box1": host}, refused={}, trouble="", changed=changed, opened=-100.0
        )
        self.here: Exception | None = None
        self.asked_here = 0
        self.plans = HostPlans(self._planned_here, NodePlans(self.membership), self.places, self.books)

    def book(self, setting: Any, machine: Any) -> MemoryBook:
        return MemoryBook(setting, 0, up=lambda: self.up, machine=machine)

    async def _planned_here(self, ref: ModelRef) -> PlacedPlan:
        self.asked_here += 1
        if self.here is not None:
            raise self.here
        return PlacedPlan(LocalHost(8100), SimpleNamespace(argv=("here",)))  # type: ignore[arg-type]


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await story()

    asyncio.run(main())


def test_the_memory_of_a_node_is_its_own(model: Path) -> None:
    """What is seen, what an engine would need by the node's devices, what it holds, and what is stored of that."""

    async def story() -> None:
        host, _ = await a_node()
        world = World(host)
        plan = (await world.plans.plan(ModelRef("m", entry(model, "box*")))).plan
        book = world.books.of("box1")
        assert book is not None and book.known
        assert book.budgets()["CUDA0"] == 8 * GIB and set(world.books.budgets()) == {"box1/host", "box1/CUDA0"}
        needs = book.needs("m")
        assert needs["CUDA0"] > 0 and world.places.of("m").offers["box1"].needs["box1/CUDA0"] == needs["CUDA0"]
        assert world.books.needs("m") == {}, "it has no machine yet"
        world.places.starts_on("m", "box1")
        world.up.append("m")
        report = ("load_tensors:        CUDA0 model buffer size =   700.00 MiB",)
        report += ("llama_kv_cache:      CUDA0 KV buffer size =   200.00 MiB",)
        report += ("sched_reserve:      CUDA0 compute buffer size =   100.00 MiB",)
        await book.came_up("m", RunningPlan(plan, os.getpid(), report))
        assert world.books.needs("m")["box1/CUDA0"] == 1000 * MIB == world.books.measured("m")["CUDA0"]
        row = next(row for row in world.books.fields(["m"]) if (row["node"], row["name"]) == ("box1", "CUDA0"))
        assert row["engines"] == {"m": 1000 * MIB} and row["free"] == 8 * GIB - 1000 * MIB
        world.books.lost("box1")
        await world.books.look()
        assert world.books.needs("m") == {} and set(world.books.budgets()) == {"local/host"}

    run(story)


def test_all_machines_that_an_entry_names_are_asked(model: Path) -> None:
    """Without `nodes` all of them; one that refuses says why; once a machine is chosen, only that one."""

    async def story() -> None:
        host, _ = await a_node()
        world = World(host)
        anywhere, named = ModelRef("m", entry(model)), ModelRef("n", entry(model, "box?"))
        assert (await world.plans.plan(anywhere)).host.name == "local"
        assert set(world.places.of("m").offers) == {"local", "box1"}
        assert (await world.plans.plan(named)).host.name == "box1" and world.asked_here == 1
        world.here = FilesMissingError("m.gguf is missing")
        assert (await world.plans.plan(anywhere)).host.name == "box1"
        assert "m.gguf" in world.places.of("m").offers["local"].refusal
        world.places.starts_on("m", "box1")
        asked = world.asked_here
        assert (await world.plans.plan(anywhere)).host.name == "box1" and world.asked_here == asked
        world.membership.hosts.clear()
        with pytest.raises(HostLostError, match="box1"):
            await world.plans.plan(anywhere)
        world.places.ended("m", stopped=True)
        with pytest.raises(FilesMissingError):
            await world.plans.plan(anywhere)
        with pytest.raises(NoNodeError, match=r"its entry names box\?, and these take engines now: none"):
            await world.plans.plan(named)

    run(story)


def test_a_machine_on_which_it_cannot_start_is_left_out(model: Path) -> None:
    """While another may be able to; if none is left, all are tried again."""

    async def story() -> None:
        host, _ = await a_node()
        world = World(host)
        ref = ModelRef("m", entry(model))
        await world.plans.plan(ref)
        for machine, other in (("box1", "local"), ("local", "box1")):
            world.places.try_again("m")
            world.places.starts_on("m", machine)
            world.places.failed("m", "Its driver is broken.")
            world.places.ended("m", stopped=False)
            assert (await world.plans.plan(ref)).host.name == other
            offers = world.places.of("m").offers
            assert "Its driver is broken" in offers[machine].refusal and not offers[other].refusal
        world.places.starts_on("m", "box1")
        world.places.failed("m", "Its driver is broken.")
        world.places.ended("m", stopped=False)
        await world.plans.plan(ref)
        assert not any(offer.refusal for offer in world.places.of("m").offers.values())

    run(story)


def test_a_node_that_is_too_small_says_so(model: Path) -> None:
    """With the node's name, and before what another machine lacks."""

    async def story() -> None:
        host, _ = await a_node()
        world = World(host, {"CUDA0": MIB})
        world.here = FilesMissingError("m.gguf is missing")
        with pytest.raises(InsufficientMemoryError, match=r"On node box1: .*CUDA0 needs"):
            await world.plans.plan(ModelRef("m", entry(model)))
        assert "CUDA0 needs" in world.places.of("m").offers["box1"].refusal

    run(story)


def test_conversations_are_kept_on_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own folder; this machine's are others. What the gateway counts is the sum."""
    monkeypatch.setenv("TANDEM_STATE_DIR", str(tmp_path / "node-state"))
    slots = Slots()
    monkeypatch.setattr("app.supervisor.slot_transfer.EngineSlots", slots)
    metrics, files = Metrics(), ConversationFiles(tmp_path / "here", None)
    limits = ConversationLimits.model_validate({"disk": "1GiB", "keep": "1h"})

    async def saved(conversations: Conversations) -> int:
        kept = await conversations.prepare(PLAN)
        assert kept.folder is not None, kept.why_not
        slots.folder = kept.folder.path
        await conversations.restore(kept, ADDRESS)
        restored = len(slots.asked)
        use(slots)
        assert await conversations.save(kept, ADDRESS)
        slots.asked.clear()
        await conversations.ended(kept)
        return restored

    async def story() -> None:
        host, _ = await a_node()
        assert host.facts.state_dir == str(tmp_path / "node-state")
        here = Conversations(files, limits, metrics)
        here.watch(["m"])
        here.joined(host, replace(files, state_dir=Path(host.facts.state_dir)))
        there = here.on(host)
        assert there is not None and here.on(LocalHost(8100)) is here
        assert await saved(there) == 0
        bytes_there = metrics.conversation_bytes
        assert bytes_there > 0 and not list((tmp_path / "here").glob("conversations/*/*/*.slot"))
        assert await saved(here) == 0, "those of the node are not here"
        assert metrics.conversation_bytes > bytes_there
        assert await saved(there) > 0
        here.use(ConversationLimits.model_validate(False), ["m"])
        await until(lambda: metrics.conversation_bytes == 0)
        assert here.why_not("m") == ""
        here.lost(host.name)
        assert here.on(host) is None
        await here.close()

    run(story)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - polling is enough
            await asyncio.sleep(0.01)


def test_auto_goes_by_what_was_measured_on_the_node(model: Path) -> None:
    """The gateway keeps it under the node's key, and sends it along."""
    records = Records()

    async def story() -> None:
        host, _ = await a_node()
        world = World(host)
        auto = LocalEntry.model_validate({"target": {"path": str(model)}, "ctx_size": 512, "speculation": "auto"})
        ref = ModelRef("m", auto)
        plans = NodePlans(world.membership, records)
        assert (await plans.plan_on(ref, host)).requested_mode == "auto"
        assert records.asked == [await plans.key(ref, "box1")]
        records.recommended = [{"mode": "ngram-mod"}]
        plan = await plans.plan_on(ref, host)
        assert plan.chosen == "ngram-mod" and "tune" in plan.auto_reason
        assert (await plans.plan_on(ModelRef("m", entry(model)), host)).auto_reason == "" and len(records.asked) == 2
        world.membership.hosts.clear()
        with pytest.raises(HostLostError):
            await plans.key(ref, "box1")

    run(story)


class Records:
    """A ledger with one result of `tune`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.recommended: Any = None

    def starts(self, key: str) -> list[ColdStart]:
        self.asked.append(key)
        return []

    def measurements(self, alias: str | None = None) -> list[Measurement]:
        return []

    def tuned(self, key: str) -> TuningRecord | None:
        if self.recommended is None:
            return None
        return TuningRecord(key, "m", 1.8e9, False, self.recommended, [])
