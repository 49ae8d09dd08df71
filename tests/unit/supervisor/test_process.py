"""One engine's task, with a launcher that the test decides for: what happens in one turn of the loop."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.engine.launch import LaunchPlan
from app.errors import Diagnosis
from app.records.database import Database
from app.records.ledger import Ledger
from app.speculation.status import Status
from app.supervisor.child import Ended
from app.supervisor.host import PlacedPlan
from app.supervisor.process import Engine
from app.supervisor.readiness import EngineAddress, StartLimits
from app.supervisor.states import EngineState
from tests.support import clock


class Launcher:
    """Starts when `started` is decided, runs until `exited` is."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.hurry = asyncio.Event()
        self.goodbye = asyncio.Event()
        self.limits = StartLimits(hang=0)
        self.plan: LaunchPlan | None = None
        self.running: Any = None
        self.keys = count(1)
        self.ended = Ended(1)
        self.started: asyncio.Future[Diagnosis | None] = loop.create_future()
        self.exited: asyncio.Future[Ended] = loop.create_future()

    async def start(self) -> Diagnosis | None:
        diagnosis = await self.started
        if diagnosis is None:
            child = SimpleNamespace(pid=1, wait=self.wait, port=8001, ended=self.ended, log=())
            address = EngineAddress("http://127.0.0.1:8001", f"key {next(self.keys)}")
            self.running = SimpleNamespace(
                host=None, child=child, since=0.0, speculation=Status("none"), address=address
            )
        return diagnosis

    async def wait(self) -> Ended:
        return await asyncio.shield(self.exited)

    async def end(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.running = None


async def no_plan() -> PlacedPlan:
    raise AssertionError("the launcher of these tests needs none")


def engine(seen: list[EngineState]) -> tuple[Engine, Launcher]:
    """`seen` gets every state that it comes to."""
    made = Engine(
        "m",
        plan=no_plan,
        limits=StartLimits(),
        ledger=Ledger(Database(Path("/nowhere"))),
        on_change=lambda made: seen.append(made.state),
        on_proven=lambda made: None,
    )
    launcher = Launcher()
    made._launcher = launcher  # type: ignore[assignment]
    return made, launcher


async def come_to(made: Engine, state: EngineState) -> None:
    while made.state is not state:
        await made.changed()
    await asyncio.sleep(0)  # its task waits for what comes next


@pytest.mark.parametrize("outcome", [None, Diagnosis("exited", "It ended.", "", permanent=False)])
def test_a_stop_in_the_turn_in_which_the_start_ends_is_heard(outcome: Diagnosis | None) -> None:
    """Whether it came up or failed: whoever closes it would wait for a READY or FATAL engine for ever."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        made.start()
        await come_to(made, EngineState.STARTING)
        made.stop()
        launcher.started.set_result(outcome)
        await made.changed()
        await made.close()

    asyncio.run(scenario())
    assert seen[:3] == [EngineState.STARTING, EngineState.STOPPING, EngineState.STOPPED]


def test_a_stop_in_the_turn_of_the_exit_is_heard() -> None:
    """Not BACKOFF, which lasts up to a minute, or FATAL, which lasts."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        made.start()
        launcher.started.set_result(None)
        await come_to(made, EngineState.READY)
        made.stop()
        launcher.exited.set_result(Ended(1))
        await made.changed()
        await made.close()

    asyncio.run(scenario())
    assert seen[:4] == [EngineState.STARTING, EngineState.READY, EngineState.STOPPING, EngineState.STOPPED]


@pytest.mark.parametrize("fault", [RuntimeError("odd"), asyncio.CancelledError()])
def test_a_fault_of_a_start_fails_that_start_only(fault: BaseException) -> None:
    """A stray cancellation too: with the task of the engine gone, its waiters would wait for ever."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        launcher.started.set_exception(fault)
        made.start()
        await come_to(made, EngineState.BACKOFF)
        assert made.diagnosis is not None and made.diagnosis.code == "supervision_failed"
        assert type(fault).__name__ in made.diagnosis.cause and not made.diagnosis.permanent
        await come_to(made, EngineState.STOPPED)
        launcher.started = asyncio.get_running_loop().create_future()
        launcher.started.set_result(None)
        made.start()
        await come_to(made, EngineState.READY)
        await made.close()

    asyncio.run(scenario())
    assert seen[:2] == [EngineState.STARTING, EngineState.BACKOFF]


@pytest.mark.parametrize("fault", [RuntimeError("odd"), asyncio.CancelledError()])
def test_a_fault_while_it_serves_ends_the_process(fault: BaseException) -> None:
    """Nobody would notice its death otherwise."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        launcher.started.set_result(None)
        made.start()
        await come_to(made, EngineState.READY)
        launcher.exited.set_exception(fault)
        await come_to(made, EngineState.STOPPED)
        assert made.pid is None
        await made.close()

    asyncio.run(scenario())
    assert seen[:4] == [EngineState.STARTING, EngineState.READY, EngineState.STOPPING, EngineState.STOPPED]


def test_a_listener_that_fails_stops_no_engine() -> None:
    """The state has changed, whatever its listeners make of it."""

    async def scenario() -> None:
        made, launcher = engine([])
        made._on_change = lambda _: 1 / 0
        launcher.started.set_result(None)
        made.start()
        await come_to(made, EngineState.READY)
        await made.close()
        assert made.state is EngineState.STOPPED

    asyncio.run(scenario())


def test_what_may_pass_is_never_given_up() -> None:
    """A minute apart at the longest; an answer clears the count, and the next failure costs no delay."""
    seen: list[EngineState] = []
    waits: list[float] = []

    async def fail(made: Engine, launcher: Launcher) -> None:
        launcher.started = asyncio.get_running_loop().create_future()
        launcher.started.set_result(Diagnosis("host_memory", "Not enough.", "", permanent=False))
        made.start()
        await come_to(made, EngineState.BACKOFF)
        waits.append(round(made.retry_after or 0.0))
        await come_to(made, EngineState.STOPPED)

    async def scenario() -> None:
        made, launcher = engine(seen)
        for _ in range(8):
            await fail(made, launcher)
        made.answered()
        for _ in range(2):
            await fail(made, launcher)
        await made.close()

    clock.run(scenario())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 0, 1]
    assert EngineState.FATAL not in seen


def test_an_engine_that_is_lost_with_its_host_starts_again_at_once() -> None:
    """However often: it has not failed. Failures of its own before still count."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        for _ in range(3):
            launcher.ended = Ended(lost="box2: 3 beats missed")
            launcher.started, launcher.exited = (asyncio.get_running_loop().create_future() for _ in range(2))
            launcher.started.set_result(None)
            made.start()
            await come_to(made, EngineState.READY)
            launcher.exited.set_result(launcher.ended)
            await come_to(made, EngineState.BACKOFF)
            assert made.diagnosis is not None and made.diagnosis.code == "node_lost"
            assert made.retry_after == 0 and made.may_come_up
            await come_to(made, EngineState.STOPPED)
        launcher.started = asyncio.get_running_loop().create_future()
        launcher.started.set_result(Diagnosis("host_memory", "Not enough.", "", permanent=False))
        made.start()
        await come_to(made, EngineState.BACKOFF)
        assert round(made.retry_after or 0.0) == 1
        await made.close()

    clock.run(scenario())


@pytest.mark.parametrize(("returncode", "code"), [(-9, "killed"), (-11, "crashed"), (0, "terminated"), (1, "exited")])
def test_those_who_were_with_a_process_hear_why_it_is_gone(returncode: int, code: str) -> None:
    """Even if the next one is up on the same port by then: it is another one's key."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        made.start()
        launcher.ended = Ended(returncode)
        launcher.started.set_result(None)
        await come_to(made, EngineState.READY)
        made.answered()
        waiting = asyncio.create_task(made.post_mortem("key 1"))
        await asyncio.sleep(0)
        launcher.exited.set_result(Ended(returncode))
        await come_to(made, EngineState.STOPPED)
        launcher.exited = asyncio.get_running_loop().create_future()
        made.start()
        await come_to(made, EngineState.READY)
        for diagnosis in (await waiting, await made.post_mortem("key 1")):
            assert diagnosis is not None and diagnosis.code == code
        assert await made.post_mortem("key 2") is None
        made.stop()
        await made.close()

    clock.run(scenario())


def test_a_process_that_takes_no_connection_is_ended_and_no_other() -> None:
    """However many report it, and however late."""
    seen: list[EngineState] = []

    async def scenario() -> None:
        made, launcher = engine(seen)
        made.start()
        launcher.started.set_result(None)
        await come_to(made, EngineState.READY)
        await asyncio.gather(*(made.unresponsive("key 1") for _ in range(3)))
        assert made.state in (EngineState.STOPPING, EngineState.STOPPED)
        diagnosis = await made.post_mortem("key 1")
        assert diagnosis is not None and diagnosis.code == "unresponsive"
        await come_to(made, EngineState.STOPPED)
        made.start()
        await come_to(made, EngineState.READY)
        await made.unresponsive("key 1")
        await asyncio.sleep(1)
        assert made.state is EngineState.READY
        await made.close()

    clock.run(scenario())
