"""The policy keeps to budgets of memory, whatever loads, leaves or fails; the book knows needs and what others use."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.devices import Device
from app.engine.footprint.estimate import estimate
from app.engine.launch import LaunchPlan
from app.errors import InsufficientMemoryError
from app.scheduler.memory_book import MemoryBook
from app.scheduler.policy import decide, decide_with_reasons
from app.scheduler.residency import Residency
from app.scheduler.room import UNCAPPED
from app.scheduler.snapshot import Action, Drain, EngineView, NoMemory, NoRoom, SchedulerSnapshot, Start, Wait
from app.supervisor.memory_sight import SeenMemory
from app.supervisor.states import OCCUPYING, EngineState
from tests.support.architectures import write_llama
from tests.support.models import ref_to
from tests.support.scheduled import lively

GIB, MIB = 1 << 30, 1 << 20
BUDGETS = {"host": 10, "CUDA0": 10, "CUDA1": 10}
READY, STOPPED, STARTING = EngineState.READY, EngineState.STOPPED, EngineState.STARTING


def engine(
    alias: str, state: EngineState = READY, *, used: float = 0, pinned: bool = False, **needs: int
) -> EngineView:
    return EngineView(alias, state, last_used=used, pinned=pinned, needs=needs)


def decided(*engines: EngineView, waiting: tuple[str, ...] = ("new",), places: int = UNCAPPED) -> list[Action]:
    waits = tuple(Wait(alias, since=100.0 + n) for n, alias in enumerate(waiting))
    return decide(SchedulerSnapshot(110.0, places, engines, waits, budgets=BUDGETS))


def test_what_fits_beside_the_others_is_started() -> None:
    new = engine("new", STOPPED, CUDA0=4)
    assert decided(engine("a", CUDA0=6), engine("b", CUDA1=10), new) == [Start("new")]


def test_memory_that_is_short_is_made_free_by_those_who_hold_it() -> None:
    """The least recently used of them; one that holds memory elsewhere stays, however old."""
    new = engine("new", STOPPED, CUDA0=4)
    old, recent, elsewhere = engine("old", CUDA0=5, used=2), engine("recent", CUDA0=5, used=3), engine("x", CUDA1=9)
    assert decided(recent, old, elsewhere, new) == [Drain("old", "new")]


def test_what_is_told_has_the_sizes() -> None:
    """Of an eviction, of a start; `c` holds memory of that device too, and stays."""
    budgets = {"CUDA0": 24 * GIB}
    sized = {"a": 5 * GIB, "b": 4 * GIB, "c": 16 * GIB}
    a, b, c = (engine(name, STOPPED if name == "b" else READY, CUDA0=size) for name, size in sized.items())
    case = SchedulerSnapshot(141.0, UNCAPPED, (replace(a, last_used=100.0), b, replace(c, pinned=True)), ())
    case = replace(case, waiting=(Wait("b", 140.8),), budgets=budgets)
    [drain] = decide(case)
    assert (
        drain.why == "idle 41 s, frees 5.00 GiB on CUDA0; b has waited 0.2 s and needs 4.00 GiB on CUDA0; c is pinned"
    )  # type: ignore[union-attr]
    [start] = decide(replace(case, engines=(b, c)))
    assert start.inputs == "needs 4.00 GiB of CUDA0, 8.00 GiB free"  # type: ignore[union-attr]


def test_as_many_make_room_as_it_takes() -> None:
    new = engine("new", STOPPED, CUDA0=9)
    three = [engine(name, CUDA0=3, used=n) for n, name in enumerate("abc")]
    assert decided(*three, new) == [Drain("a", "new"), Drain("b", "new"), Drain("c", "new")]
    leaving = EngineView("a", EngineState.STOPPING, needs={"CUDA0": 3})
    assert decided(leaving, *three[1:], new) == [Drain("b", "new"), Drain("c", "new")]


def test_a_small_one_stays_where_a_large_one_goes_anyway() -> None:
    """The oldest is not enough by itself, and not needed beside the next."""
    new = engine("new", STOPPED, CUDA0=7)
    small, large = engine("small", CUDA0=1, used=1), engine("large", CUDA0=8, used=100)
    assert decided(small, large, new) == [Drain("large", "new")]
    assert decided(small, large, engine("new", STOPPED, CUDA0=9)) == [Drain("large", "new")]
    assert decided(small, large, engine("new", STOPPED, CUDA0=10)) == [Drain("small", "new"), Drain("large", "new")]


def test_who_frees_most_for_the_cost_of_a_load_goes_first() -> None:
    """Of the place that is short; where both have been idle for as long."""
    new = engine("new", STOPPED, CUDA0=4)
    much, little = engine("much", CUDA0=5, used=50), engine("little", CUDA0=4, host=99, used=50)
    assert decided(much, little, new) == [Drain("much", "new")]
    costly = replace(much, load_seconds=20.0)
    assert decided(costly, little, new) == [Drain("little", "new")]


def test_nobody_goes_for_a_load_that_has_to_wait_for_another() -> None:
    """Until then an idle engine may be asked for again. Loads on another device, and on the host, wait for none."""
    idle, loading = engine("idle", CUDA0=5), engine("loading", STARTING, CUDA0=4)
    assert decided(idle, loading, engine("new", STOPPED, CUDA0=4)) == []
    assert decided(idle, replace(loading, state=READY, in_flight=1), engine("new", STOPPED, CUDA0=4)) == [
        Drain("idle", "new")
    ]
    elsewhere = engine("loading", STARTING, CUDA1=4)
    assert decided(idle, elsewhere, engine("new", STOPPED, CUDA0=6)) == [Drain("idle", "new")]
    on_host = (engine("idle", host=5), engine("loading", STARTING, host=4))
    assert decided(*on_host, engine("new", STOPPED, host=4)) == [Drain("idle", "new")]


def test_only_the_next_load_onto_a_device_has_room_made() -> None:
    views = [engine("a", CUDA0=5, used=1), engine("b", CUDA0=5, used=2)]
    new = [engine("new", STOPPED, CUDA0=5), engine("next", STOPPED, CUDA0=5)]
    assert decided(*views, *new, waiting=("new", "next")) == [Drain("a", "new")]


def test_what_cannot_fit_alone_is_refused_before_anything_goes() -> None:
    assert decided(engine("a", CUDA0=3), engine("new", STOPPED, CUDA0=11)) == [NoMemory("new")]


def test_what_no_longer_fits_alone_is_refused_with_figures() -> None:
    """Its budget has shrunk since it was planned."""
    seen = book(SeenMemory((CARD,), 32 * GIB), {"CUDA0": GIB})

    async def main() -> None:
        await seen.look()
        seen._note("a", {"CUDA0": 2 * GIB}, 0)
        scheduler, _ = lively({"a": Residency(slots=1)}, max_loaded=UNCAPPED, memory=seen)
        with pytest.raises(InsufficientMemoryError, match=r"1\.00 GiB of CUDA0 are missing") as caught:
            await scheduler.lease(ref_to("a"))
        assert caught.value.figures == {"footprint": {"CUDA0": 2 * GIB}, "budgets": {"host": 31 * GIB, "CUDA0": GIB}}
        await scheduler.close()

    asyncio.run(main())  # a look runs in a thread, which the other clock cannot wait for


def test_what_pinned_engines_leave_no_memory_for_is_refused() -> None:
    new = engine("new", STOPPED, CUDA0=6)
    assert decided(engine("a", CUDA0=5, pinned=True), engine("b", CUDA0=5), new) == [NoRoom("new")]
    assert decided(engine("a", CUDA0=4, pinned=True), engine("b", CUDA0=5), new) == [Drain("b", "new")]


def test_one_load_at_a_time_on_a_device() -> None:
    """The host is no device: loads there go side by side."""
    assert decided(engine("a", STARTING, CUDA0=1, host=1), engine("new", STOPPED, CUDA0=1, host=1)) == []
    assert decided(engine("a", STARTING, CUDA1=1, host=1), engine("new", STOPPED, CUDA0=1, host=1)) == [Start("new")]
    both = [engine("new", STOPPED, CUDA0=1), engine("next", STOPPED, CUDA0=1)]
    assert decided(*both, waiting=("new", "next")) == [Start("new")]


def test_memory_that_one_waits_for_goes_to_nobody_behind_it() -> None:
    busy = EngineView("a", READY, in_flight=1, ready_at=109.0, last_used=109.0, needs={"CUDA0": 6})
    large, small = engine("large", STOPPED, CUDA0=8), engine("small", STOPPED, CUDA0=4)
    elsewhere = engine("elsewhere", STOPPED, CUDA1=4)
    actions = decided(busy, large, small, elsewhere, waiting=("large", "small", "elsewhere"))
    assert actions == [Start("elsewhere")]


def test_on_a_device_that_is_full_nobody_behind_is_looked_at() -> None:
    """With many models waiting, each look costs. On another device they are looked at."""
    idle, elsewhere = engine("idle", CUDA0=10, used=1), engine("elsewhere", STOPPED, CUDA1=4)
    new, behind = engine("new", STOPPED, CUDA0=4), engine("behind", STOPPED, CUDA0=1)
    waits = tuple(Wait(alias, 100.0 + n) for n, alias in enumerate(("new", "behind", "elsewhere")))
    case = SchedulerSnapshot(110.0, UNCAPPED, (idle, elsewhere, new, behind), waits, budgets=BUDGETS)
    actions, blocked = decide_with_reasons(case)
    assert actions == [Drain("idle", "new"), Start("elsewhere")]
    assert [(wait.alias, wait.why) for wait in blocked] == [("behind", "another waits for a place before it")]


def test_an_explicit_number_of_places_holds_beside_memory() -> None:
    new = engine("new", STOPPED, CUDA0=1)
    assert decided(engine("a", CUDA0=1), new, places=1) == [Drain("a", "new")]


_sizes = st.dictionaries(st.sampled_from(sorted(BUDGETS)), st.integers(0, 12), max_size=3)
_engines = st.lists(
    st.tuples(st.sampled_from(EngineState), _sizes, st.booleans(), st.integers(0, 2), st.integers(0, 100)), max_size=6
)


@given(_engines, st.lists(st.integers(0, 5), max_size=6), st.sampled_from([1, 2, UNCAPPED]))
def test_no_start_exceeds_a_budget(
    drawn: list[tuple[EngineState, dict[str, int], bool, int, int]], waiting: list[int], places: int
) -> None:
    """Whatever is up, also where what is up takes more than was thought and has a place over its budget already."""
    views = [
        EngineView(str(n), state, busy if state is READY else 0, used, pinned=pinned, needs=needs)
        for n, (state, needs, pinned, busy, used) in enumerate(drawn)
    ]
    aliases = tuple(dict.fromkeys(str(n) for n in waiting if n < len(views)))
    actions = decided(*views, waiting=aliases, places=places)
    started = [action.alias for action in actions if isinstance(action, Start)]
    held: Counter[str] = Counter()
    for view in views:
        if view.state in OCCUPYING or view.alias in started:
            held.update(view.needs)
    for name in {name for alias in started for name, size in views[int(alias)].needs.items() if size}:
        assert held[name] <= BUDGETS[name]
    for action in actions:
        if isinstance(action, Drain):
            assert not views[int(action.alias)].pinned and action.alias not in started


@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(BUDGETS)), st.integers(1, 12), min_size=1), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40),
    st.data(),
)
def test_never_over_budget_in_a_life_of_loads_and_failures(
    needs: list[dict[str, int]], events: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Requests come, loads end or fail, engines crash and leave, in any order."""
    states = dict.fromkeys(range(len(needs)), STOPPED)
    waits: dict[int, float] = {}
    for at, (which, event) in enumerate(events):
        n = which % len(needs)
        match event, states[n]:
            case 0, _:
                waits.setdefault(n, 100.0 + at)
            case (1, EngineState.STARTING):
                states[n] = READY
            case 2, _:
                states[n] = STOPPED  # however it ended
            case (3, EngineState.DRAINING):
                states[n] = data.draw(st.sampled_from([EngineState.STOPPING, STOPPED]))
        views = tuple(EngineView(str(k), states[k], last_used=float(k), needs=needs[k]) for k in states)
        waiting = tuple(Wait(str(k), since) for k, since in waits.items())
        for action in decide(SchedulerSnapshot(100.0 + at, UNCAPPED, views, waiting, budgets=BUDGETS)):
            k = int(action.alias)
            match action:
                case Start():
                    states[k] = STARTING
                case Drain():
                    states[k] = EngineState.DRAINING
                case _:
                    waits.pop(k, None)
        held: Counter[str] = Counter()
        for k, state in states.items():
            if state in OCCUPYING:
                held.update(needs[k])
        assert all(held[name] <= size for name, size in BUDGETS.items())


@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(BUDGETS)), st.integers(1, 10), min_size=1), min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(sorted(BUDGETS)), st.integers(1, 14))),
)
def test_no_start_exceeds_a_budget_where_engines_take_other_than_estimated(
    needs: list[dict[str, int]], events: list[tuple[int, int, str, int]]
) -> None:
    """Whoever is up may turn out to take more or less, at any time: the next start goes by what is known then."""
    states = dict.fromkeys(range(len(needs)), STOPPED)
    waits: dict[int, float] = {}

    def held() -> Counter[str]:
        sizes: Counter[str] = Counter()
        for k, state in states.items():
            if state in OCCUPYING:
                sizes.update(needs[k])
        return sizes

    for at, (which, event, place, size) in enumerate(events):
        n = which % len(needs)
        match event, states[n]:
            case 0, _:
                waits.setdefault(n, 100.0 + at)
            case (1, EngineState.STARTING):
                states[n] = READY
            case 2, _:
                states[n] = STOPPED
            case (3, EngineState.DRAINING):
                states[n] = STOPPED
            case (4, EngineState.READY | EngineState.STARTING):
                needs[n] = {**needs[n], place: size}
        views = tuple(EngineView(str(k), states[k], last_used=float(k), needs=needs[k]) for k in states)
        waiting = tuple(Wait(str(k), since) for k, since in waits.items())
        for action in decide(SchedulerSnapshot(100.0 + at, UNCAPPED, views, waiting, budgets=BUDGETS)):
            k = int(action.alias)
            match action:
                case Start():
                    states[k] = STARTING
                    sizes = held()
                    assert all(sizes[name] <= BUDGETS[name] for name in needs[k])
                case Drain():
                    states[k] = EngineState.DRAINING
                case _:
                    waits.pop(k, None)


def test_a_start_that_ran_out_of_memory_moves_those_who_hold_it() -> None:
    """What it lacks has been learned; who holds memory elsewhere stays, however old."""
    starved = EngineView("new", EngineState.BACKOFF, retry_at=200.0, wants_memory=True, needs={"CUDA0": 6})
    elsewhere, holder = engine("elsewhere", CUDA1=9, used=1), engine("holder", CUDA0=5, used=50)
    assert decided(elsewhere, holder, starved) == [Drain("holder", "new")]
    unknown = replace(starved, needs={})
    assert decided(elsewhere, holder, unknown) == [Drain("elsewhere", "new")]


def book(seen: SeenMemory, setting: object = "auto", up: tuple[str, ...] = ()) -> MemoryBook:
    return MemoryBook(setting, GIB, lambda: seen, lambda: up)  # type: ignore[arg-type]


def plan_of(path: Path, *flags: str) -> LaunchPlan:
    return LaunchPlan("m", ("llama-server", "-m", str(path), *flags), {}, (), ())


CARD = Device("CUDA0", "a GPU", 8 * GIB, 5 * GIB)


def test_auto_is_all_but_the_margin_and_what_others_use() -> None:
    seen = book(SeenMemory((CARD,), 32 * GIB, 10 * GIB))
    asyncio.run(seen.look())
    assert seen.budgets() == {"host": 21 * GIB, "CUDA0": 4 * GIB}


@pytest.mark.parametrize(
    ("setting", "budgets"),
    [
        ({"host": 4 * GIB}, {"host": 4 * GIB, "CUDA0": 4 * GIB}),
        ({"host": 30 * GIB, "cuda0": 8 * GIB}, {"host": 22 * GIB, "CUDA0": 5 * GIB}),
        ({"host": 64 * GIB}, {"host": 54 * GIB, "CUDA0": 4 * GIB}),
    ],
)
def test_a_figure_holds_and_others_use_is_seen(setting: Mapping[str, int], budgets: Mapping[str, int]) -> None:
    """One above the memory itself is meant so: files that are mapped can be larger."""
    seen = book(SeenMemory((CARD,), 32 * GIB, 10 * GIB), setting)
    asyncio.run(seen.look())
    assert seen.budgets() == budgets


@pytest.mark.parametrize(
    ("setting", "warnings"),
    [
        ("auto", []),
        ({"HOST": GIB, "cuda0": GIB}, []),
        (
            {"CUDA7": GIB, "gpu": GIB, "host": GIB},
            [f"memory: there is no {name} here, so it limits nothing; use host, CUDA0" for name in ("CUDA7", "gpu")],
        ),
    ],
)
def test_a_budget_for_what_is_not_here_is_reported(setting: object, warnings: list[str]) -> None:
    """Once the devices are known; nothing is said of a machine that nobody has seen."""
    seen = book(SeenMemory((CARD,), 32 * GIB), setting)
    assert seen.warnings() == []
    asyncio.run(seen.look())
    assert seen.warnings() == warnings


def test_our_own_engines_are_no_others(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf")
    ours = book(SeenMemory((CARD,), 32 * GIB), up=("m",))
    asyncio.run(ours.planned("m", plan_of(path, "-c", "65536", "-np", "1")))
    asyncio.run(ours.look())
    (host, card) = ours.fields(["m"])
    assert (host["name"], card["name"], card["total"]) == ("host", "CUDA0", 8 * GIB)
    assert card["engines"]["m"] > 128 * MIB and card["others"] == 3 * GIB - card["engines"]["m"]
    assert card["free"] == card["budget"] - card["engines"]["m"]


@pytest.mark.parametrize(
    ("held", "others"),
    [(None, 2 * GIB), (4 * GIB, 2 * GIB), (GIB, 5 * GIB), (0, 6 * GIB), (5 * GIB, 2 * GIB)],
    ids=["unknown", "loaded", "loading", "none", "more"],
)
def test_others_use_is_exact_where_a_driver_tells_of_ours(held: int | None, others: int) -> None:
    """An engine that is being loaded holds less than it needs; what it holds beyond that is missing from a budget."""
    card = Device("CUDA0", "a GPU", 8 * GIB, 2 * GIB)
    seen = SeenMemory((card,), 32 * GIB, held=None if held is None else {"CUDA0": held})
    assert seen.places({"CUDA0": 4 * GIB})["CUDA0"].others == others
    (empty,) = seen.devices_without({"CUDA0": 4 * GIB})
    assert empty.free == 8 * GIB - others


@pytest.mark.parametrize("flags", [("-c", "65536"), ()], ids=["context", "no-context"])
def test_fit_does_not_shrink_what_idle_engines_can_make_room_for(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """They leave the card too little for all layers, or for the whole context; other programs leave enough."""
    path, total = write_llama(tmp_path / "m.gguf", blocks=64), 8 * GIB
    full = Device("CUDA0", "a GPU", total, total)
    ours = book(SeenMemory((full,), 32 * GIB), up=("a",))
    asyncio.run(ours.planned("a", plan_of(path, "-c", "65536", "-np", "1")))
    held = ours.needs("a")["CUDA0"]
    assert held > GIB, "the test needs a model that leaves room for one only"
    ours._machine._see = lambda: SeenMemory((replace(full, total=2 * held + GIB, free=held),), 32 * GIB)
    asyncio.run(ours.planned("b", plan_of(path, *flags, "-np", "1")))
    assert ours.needs("b")["CUDA0"] == held
    ours._machine._see = lambda: SeenMemory((replace(full, total=4 * held, free=held // 8),), 32 * GIB)
    asyncio.run(ours.planned("b", plan_of(path, *flags, "-np", "1")))
    assert ours.needs("b")["CUDA0"] < held, "another program's memory is not to be had"


def test_what_cannot_fit_alone_is_refused_with_figures_and_help(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf")
    tight = book(SeenMemory((), 32 * GIB), {"host": 60 * MIB})
    with pytest.raises(
        InsufficientMemoryError, match=r"host needs .* of 60\.00 MiB\. One of these .*ctx_size: "
    ) as caught:
        asyncio.run(tight.planned("m", plan_of(path, "-c", "65536", "-np", "1", "--fit", "off")))
    assert caught.value.figures["budgets"] == {"host": 60 * MIB}
    assert caught.value.figures["footprint"]["host"] > 60 * MIB
    assert caught.value.figures["would_fit_with"][0].startswith("ctx_size: ")
    asyncio.run(tight.planned("m", plan_of(path, "-c", "4096", "-np", "1")))
    assert 0 < tight.needs("m")["host"] <= 60 * MIB


def test_memory_that_nobody_tells_limits_nothing(tmp_path: Path) -> None:
    blind = book(SeenMemory(None, 32 * GIB), {"host": 1})
    asyncio.run(blind.planned("m", plan_of(write_llama(tmp_path / "m.gguf"), "-c", "65536")))
    assert (blind.known, blind.budgets(), blind.needs("m")) == (False, {}, {})


def test_mapped_files_beyond_the_host_start_alone() -> None:
    """As llama-server itself starts them; whatever else is on the host goes first, and waits for its end."""
    large = EngineView("large", STOPPED, needs={"host": 15, "CUDA0": 2}, mapped=12)
    assert decided(large, waiting=("large",)) == [Start("large")]
    assert decided(large, engine("card", CUDA1=9), waiting=("large",)) == [Start("large")]
    assert decided(large, engine("a", host=1), waiting=("large",)) == [Drain("a", "large")]
    up = replace(large, state=READY)
    assert decided(up, engine("new", STOPPED, host=1)) == [Drain("large", "new")]
    # What is not mapped has to fit
    assert decided(replace(large, mapped=4), waiting=("large",)) == [NoMemory("large")]


@pytest.mark.parametrize("flags", [("--no-mmap",), ("--mlock",), ("--load-mode", "none"), ("-lm", "mlock")])
def test_a_model_larger_than_memory_starts_where_its_file_is_mapped(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Not where the weights are held, nor beyond a figure that somebody has given."""
    path = write_llama(tmp_path / "m.gguf")
    size = path.stat().st_size
    plan = plan_of(path, "-c", "1024", "-np", "1", "-fit", "off")
    beside = estimate(plan.argv, (), 32 * GIB).by_device()["host"] - size
    seen = SeenMemory((), GIB + beside + size // 2)
    mapped = book(seen)
    asyncio.run(mapped.planned("m", plan))
    assert mapped.mapped("m") > size // 2 and mapped.needs("m")["host"] > mapped.budgets()["host"]
    for held, more in ((book(seen), flags), (book(seen, {"host": beside + size // 2}), ())):
        with pytest.raises(InsufficientMemoryError, match="host needs"):
            asyncio.run(held.planned("m", plan_of(path, "-c", "1024", "-np", "1", "-fit", "off", *more)))


def test_preloads_are_those_that_memory_holds_together(tmp_path: Path) -> None:
    """None makes room for another; one that is larger than all may still map its file, alone."""
    plan = plan_of(write_llama(tmp_path / "m.gguf"), "-c", "65536", "-np", "1", "-fit", "off")
    tight = book(SeenMemory((), 32 * GIB), {"host": 300 * MIB})
    for alias in "ab":
        asyncio.run(tight.planned(alias, plan))
    assert 150 * MIB < tight.needs("a")["host"] <= 300 * MIB
    assert tight.holds(["a"]) and tight.holds(["b"]) and not tight.holds(["a", "b"])
