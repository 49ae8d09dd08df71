"""Pulls of a gateway, with work that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.errors import NotOnHubError, ShuttingDownError, UnknownPullError
from app.models.download.events import DownloadEvent, Emit
from app.models.download.pull_item import PullItem
from app.pulls.pull import PullState
from app.pulls.registry import REMEMBERED, Pulls

GLM, AIR = (PullItem("unsloth/GLM-4.7-GGUF", "*Q2*"),), (PullItem("unsloth/GLM-4.5-Air-GGUF"),)


class World:
    """Pulls whose work tells of a byte and waits until it may end, with or without an error."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.error: Exception | None = None
        self.begun: list[tuple[Any, bool]] = []
        self.pulls = Pulls(self._work)

    def _work(self, items: Any, update: bool) -> Callable[[Emit, Callable[[float], None]], None]:
        self.begun.append((items, update))

        def work(emit: Emit, sleep: Callable[[float], None]) -> None:
            emit(DownloadEvent("plan", "", 1, 4))
            while not self.go.is_set():
                sleep(0.001)
            if self.error is not None:
                raise self.error
            emit(DownloadEvent("done", "m.gguf", 4, 4))

        return work


def within(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(body(World()))


def test_the_same_files_are_pulled_once_at_a_time() -> None:
    """Whoever asks for them joins; others are another pull, and so are the same ones afterwards."""

    async def body(world: World) -> None:
        first, other = world.pulls.start("glm", GLM), world.pulls.start("air", AIR)
        assert world.pulls.start("glm", GLM) is first is world.pulls.running(GLM) and other is not first
        world.go.set()
        await first.over()
        assert world.pulls.running(GLM) is None and world.pulls.start("glm", GLM, update=True) is not first
        assert world.begun == [(GLM, False), (AIR, False), (GLM, True)]
        await world.pulls.close()

    within(body)


def test_its_end_is_told_with_the_reason() -> None:
    async def body(world: World) -> None:
        world.error = NotOnHubError("There is no such repo.")
        pull = world.pulls.start("glm", GLM)
        assert (pull.state, pull.ended) == (PullState.RUNNING, None)
        world.go.set()
        await pull.over()
        assert (pull.state, pull.reason) == (PullState.FAILED, "There is no such repo.") and pull.ended is not None
        assert world.pulls.get(pull.id) is pull and not world.pulls.busy

    within(body)


def test_a_fault_of_ours_tells_nothing_of_our_insides() -> None:
    async def body(world: World) -> None:
        world.error = KeyError("inside")
        pull = world.pulls.start("glm", GLM)
        world.go.set()
        await pull.over()
        assert (pull.state, pull.reason) == (PullState.FAILED, "Internal error of the gateway. Its log has the cause.")

    within(body)


def test_a_cancelled_pull_stops_wherever_it_is() -> None:
    """Harmless twice, and after the end."""

    async def body(world: World) -> None:
        pull = world.pulls.start("glm", GLM)
        pull.cancel()
        pull.cancel()
        await pull.over()
        assert pull.state is PullState.CANCELLED and "kept" in pull.reason
        pull.cancel()
        assert repr(pull) == "<Pull glm: cancelled>"

    within(body)


def test_the_last_ones_are_remembered_the_latest_first() -> None:
    async def body(world: World) -> None:
        world.go.set()
        made = []
        for _ in range(REMEMBERED + 2):
            made.append(world.pulls.start("glm", GLM))
            await made[-1].over()
        assert world.pulls.all() == made[:1:-1]
        with pytest.raises(UnknownPullError, match="not found"):
            world.pulls.get(made[0].id)

    within(body)


def test_a_gateway_that_goes_stops_them_all_and_takes_no_more() -> None:
    async def body(world: World) -> None:
        pulls = [world.pulls.start("glm", GLM), world.pulls.start("air", AIR)]
        await world.pulls.close()
        assert [pull.state for pull in pulls] == [PullState.CANCELLED] * 2
        with pytest.raises(ShuttingDownError):
            world.pulls.start("glm", GLM)
        await world.pulls.close()

    within(body)
