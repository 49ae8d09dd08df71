"""Those who wait, and the table of engines: kept from one decision to the next, they say what anew would."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.scheduler.line import WaitingLine
from app.scheduler.policy import decide_with_reasons, next_look
from app.scheduler.snapshot import EngineTable, EngineView, SchedulerSnapshot, Wait
from app.supervisor.states import EngineState

ALIASES = [f"m{at}" for at in range(8)]
WAITS = st.builds(Wait, st.sampled_from(ALIASES), st.integers(0, 40).map(float), st.integers(-1, 1))


@given(st.lists(st.one_of(WAITS, st.sampled_from(ALIASES)), max_size=40), st.floats(0, 50))
def test_the_overdue_come_first_then_by_priority_then_by_age(changes: list[Wait | str], overdue: float) -> None:
    """Whatever has come, was replaced, and has left in between."""
    line, expected = WaitingLine(), dict[str, Wait]()
    for change in changes:
        if isinstance(change, Wait):
            line.put(change)
            if expected.get(change.alias) != change:
                expected.pop(change.alias, None)
                expected[change.alias] = change
        else:
            line.drop(change)
            expected.pop(change, None)
    by_age = sorted(expected.values(), key=lambda wait: wait.since)
    late = [wait for wait in by_age if wait.since <= overdue]
    in_time = sorted((wait for wait in by_age if wait.since > overdue), key=lambda wait: -wait.priority)
    assert list(line.in_order(overdue)) == [*late, *in_time]
    assert line.among(ALIASES[:4], overdue) == [wait for wait in (*late, *in_time) if wait.alias in ALIASES[:4]]
    assert line.since_after(overdue) == min((wait.since for wait in in_time), default=float("inf"))
    assert (len(line), set(line)) == (len(expected), set(expected.values()))


VIEWS = st.builds(
    EngineView,
    st.sampled_from(ALIASES),
    st.sampled_from(EngineState),
    st.integers(0, 1),
    st.floats(0, 50),
    pinned=st.booleans(),
    ready_at=st.floats(0, 50),
    needs=st.dictionaries(st.sampled_from(["host", "CUDA0", "CUDA1"]), st.integers(1, 5)),
)


@given(st.lists(VIEWS, max_size=30), st.lists(WAITS, max_size=12), st.integers(1, 4), st.integers(1, 9))
def test_what_is_kept_decides_as_what_is_built_anew(
    views: list[EngineView], waits: list[Wait], places: int, size: int
) -> None:
    """A table that has seen every state of an engine before its last one says what the last ones alone say."""
    table, line = EngineTable(EngineView(alias, EngineState.STOPPED) for alias in ALIASES), WaitingLine()
    for view in views:
        table.put(view)
    for wait in waits:
        line.put(wait)
    kept = SchedulerSnapshot(60.0, places, table, line, budgets={"host": size, "CUDA0": size})
    anew = replace(kept, engines=tuple(table), waiting=tuple(line))
    (actions, blocked), (expected, expected_blocked) = decide_with_reasons(kept), decide_with_reasons(anew)
    assert {*actions} == {*expected}
    assert {*blocked} == {*expected_blocked}
    assert next_look(kept) == next_look(anew)


def test_a_long_line_is_not_read_to_its_end_and_nobody_in_it_is_forgotten() -> None:
    """Whose engine is up is served, however far behind he stands, and a free place is found by who may take it."""
    busy = EngineView("busy", EngineState.READY, in_flight=1, ready_at=90.0, needs={"CUDA0": 4})
    stopped = [EngineView(f"s{at}", EngineState.STOPPED, needs={"CUDA0": 1}) for at in range(200)]
    other = EngineView("other", EngineState.READY)
    host = EngineView("host", EngineState.STOPPED, needs={"host": 1})
    waits = [Wait(view.alias, 96.0 + at / 100) for at, view in enumerate([*stopped, other])]
    case = SchedulerSnapshot(100.0, 2, (busy, *stopped, other), waits, max_wait=300.0)
    assert [str(action) for action in decide_with_reasons(case)[0]] == ["Grant(alias='other')"]
    by_memory = replace(case, max_loaded=9, budgets={"CUDA0": 4, "host": 9})
    assert [action.alias for action in decide_with_reasons(by_memory)[0]] == ["other"]
    more = replace(by_memory, engines=(*case.engines, host), waiting=[*waits, Wait("host", 99.0)])
    assert [action.alias for action in decide_with_reasons(more)[0]] == ["other", "host"]
