"""When the first request for a model pulls it, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.config.settings import Settings
from app.errors import DownloadingError, PullFailedError, ShuttingDownError
from app.models.catalog import Catalog
from app.pulls.on_demand import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, OnDemand
from app.pulls.progress import PullSnapshot
from app.pulls.pull import PullState

REPO = "org/m-GGUF"


class Pull:
    """Ends when the test says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state, self.reason = PullState.RUNNING, ""
        self.ended: float | None = None
        self.progress = PullSnapshot("downloading", 1, 4, 0.25)
        self._over = asyncio.Event()

    async def over(self) -> None:
        await self._over.wait()

    def end(self, at: float, state: PullState = PullState.DONE, reason: str = "") -> None:
        self.state, self.reason, self.ended = state, reason, at
        self._over.set()


class World:
    """A model on the Hub that is not here, `on_demand` unless said otherwise, and a clock."""

    def __init__(self, folder: Path, **entry: Any) -> None:
        self.models = folder / "models"
        target = {"repo": REPO, "include": "*Q4*"}
        written = {"m": {"target": target, "pull": "on_demand", **entry}, "far": {"url": "http://other:1"}}
        settings = Settings.model_validate({"models_dir": self.models, "models": written})
        self.now, self.closing = 100.0, False
        self.begun: list[Pull] = []
        self.started = asyncio.Event()
        catalog = Catalog(settings)
        self.ref = catalog.resolve
        self.on_demand = OnDemand(catalog, self, clock=lambda: self.now)  # type: ignore[arg-type]

    # What `Pulls` is to OnDemand
    @property
    def busy(self) -> bool:
        return self.running(()) is not None

    def running(self, items: Any) -> Pull | None:
        return next((pull for pull in self.begun if pull.state is PullState.RUNNING), None)

    def start(self, name: str, items: Any) -> Pull:
        self.begun.append(Pull(name))
        self.started.set()
        return self.begun[-1]

    def arrive(self) -> None:
        (self.models / REPO).mkdir(parents=True, exist_ok=True)
        (self.models / REPO / "m-Q4_K_M.gguf").write_bytes(b"GGUF")

    async def fail(self, reason: str = "The Hub is away.") -> None:
        """One request that begins a pull, which fails."""
        with pytest.raises(DownloadingError):
            await self.on_demand.ensure(self.ref("m"), patient=False)
        self.begun[-1].end(self.now, PullState.FAILED, reason)


@pytest.fixture
def within(tmp_path: Path) -> Callable[..., None]:
    def run(body: Callable[[World], Coroutine[Any, Any, None]], **entry: Any) -> None:
        asyncio.run(body(World(tmp_path, **entry)))

    return run


def test_files_that_are_here_need_nothing(within: Callable[..., None]) -> None:
    async def body(world: World) -> None:
        world.arrive()
        await world.on_demand.ensure(world.ref("m"), patient=True)
        await world.on_demand.ensure(world.ref("m:plain"), patient=False)
        assert not world.begun and world.on_demand.waiting_for(world.ref("m")) == "waiting for the engine"

    within(body)


def test_never_is_never(within: Callable[..., None]) -> None:
    """Nor does a server that others look after have files here."""

    async def body(world: World) -> None:
        await world.on_demand.ensure(world.ref("m"), patient=True)
        await world.on_demand.ensure(world.ref("far"), patient=True)
        assert not world.begun and world.on_demand.pull_of(world.ref("far")) is None

    within(body, pull="never")


def test_who_is_patient_waits_and_who_is_not_is_told(within: Callable[..., None]) -> None:
    """All of them for one pull, a variant's too."""

    async def body(world: World) -> None:
        waiting = asyncio.ensure_future(world.on_demand.ensure(world.ref("m:plain"), patient=True))
        await world.started.wait()
        with pytest.raises(DownloadingError) as error:
            await world.on_demand.ensure(world.ref("m"), patient=False)
        assert error.value.progress["percent"] == 25.0 and error.value.retry_after == 12
        assert world.on_demand.waiting_for(world.ref("m:plain")).startswith("downloading m: 25.0 %")
        world.arrive()
        world.begun[0].end(world.now)
        await waiting
        assert len(world.begun) == 1

    within(body)


def test_a_failure_is_told_until_its_backoff_is_over(within: Callable[..., None]) -> None:
    """Then one request tries again, and each failure doubles the wait, up to a limit."""

    async def body(world: World) -> None:
        wait = FIRST_BACKOFF_S
        for tries in range(1, 9):
            await world.fail()
            assert len(world.begun) == tries
            for patient in (True, False):
                with pytest.raises(PullFailedError, match="The Hub is away") as error:
                    await world.on_demand.ensure(world.ref("m"), patient=patient)
                assert error.value.retry_after == pytest.approx(wait)
            assert world.on_demand.failure(world.ref("m")) == "The Hub is away."
            world.now += wait
            wait = min(2 * wait, LONGEST_BACKOFF_S)

    within(body)


def test_a_success_forgets_the_failures_before_it(within: Callable[..., None]) -> None:
    async def body(world: World) -> None:
        for _ in range(3):
            await world.fail()
            world.now += LONGEST_BACKOFF_S
        with pytest.raises(DownloadingError):
            await world.on_demand.ensure(world.ref("m"), patient=False)
        world.begun[-1].end(world.now)
        world.now += LONGEST_BACKOFF_S
        await world.fail()
        with pytest.raises(PullFailedError) as error:
            await world.on_demand.ensure(world.ref("m"), patient=True)
        assert error.value.retry_after == FIRST_BACKOFF_S

    within(body)


def test_a_pull_that_brings_something_else_is_not_repeated_at_once(within: Callable[..., None]) -> None:
    """It ended well, and the files that the entry names are missing still: the reason is what is missing."""

    async def body(world: World) -> None:
        with pytest.raises(DownloadingError):
            await world.on_demand.ensure(world.ref("m"), patient=False)
        world.begun[0].end(world.now)
        with pytest.raises(PullFailedError, match="no GGUF file matches"):
            await world.on_demand.ensure(world.ref("m"), patient=True)
        assert len(world.begun) == 1

    within(body)


def test_a_failure_is_over_once_the_files_are_here(within: Callable[..., None]) -> None:
    async def body(world: World) -> None:
        await world.fail()
        world.arrive()
        await world.on_demand.ensure(world.ref("m"), patient=False)
        assert world.on_demand.failure(world.ref("m")) is None

    within(body)


def test_the_pull_of_somebody_else_is_joined_whatever_failed_before(within: Callable[..., None]) -> None:
    """A person starts one by the admin API: a backoff is for requests."""

    async def body(world: World) -> None:
        await world.fail()
        theirs = world.start("m", ())
        waiting = asyncio.ensure_future(world.on_demand.ensure(world.ref("m"), patient=True))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        world.arrive()
        theirs.end(world.now)
        await waiting

    within(body)


@pytest.mark.parametrize(("closing", "error"), [(True, ShuttingDownError), (False, PullFailedError)])
def test_who_waits_for_a_cancelled_pull_is_told(
    within: Callable[..., None], closing: bool, error: type[Exception]
) -> None:
    async def body(world: World) -> None:
        waiting = asyncio.ensure_future(world.on_demand.ensure(world.ref("m"), patient=True))
        await world.started.wait()
        world.closing = closing
        world.begun[0].end(world.now, PullState.CANCELLED, "It was cancelled.")
        with pytest.raises(error):
            await waiting

    within(body)


def test_a_client_that_leaves_changes_nothing(within: Callable[..., None]) -> None:
    async def body(world: World) -> None:
        waiting = asyncio.ensure_future(world.on_demand.ensure(world.ref("m"), patient=True))
        await world.started.wait()
        waiting.cancel()
        await asyncio.wait({waiting})
        assert world.begun[0].state is PullState.RUNNING
        assert world.on_demand.pull_of(world.ref("m")) is world.begun[0]

    within(body)
