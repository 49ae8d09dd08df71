"""Which plan a start goes by: the preflight's, for as long as what it was made from stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engine.launch import LaunchPlan
from app.errors import Diagnosis, FilesMissingError, HostLostError
from app.records.database import Database
from app.records.ledger import Ledger
from app.supervisor.child import Ended
from app.supervisor.host import LocalHost, PlacedPlan, SpawnOrder
from app.supervisor.launcher import Launcher
from app.supervisor.readiness import StartLimits


class World:
    """A launcher that starts nothing, and counts the plans that are made for it."""

    def __init__(self, folder: Path) -> None:
        self.binary, self.target, self.draft = (folder / name for name in ("llama-server", "t.gguf", "d.gguf"))
        for file in (self.binary, self.target, self.draft):
            file.write_bytes(b"1")
        self.made = 0
        self.started: list[LaunchPlan] = []
        self.missing = False
        ledger = Ledger(Database(Path("/nowhere")))
        self.host: LocalHost = LocalHost(1)
        self.launcher = Launcher("m", self.plan, StartLimits(), ledger)
        self.launcher._start = self._start  # type: ignore[method-assign]

    async def plan(self) -> PlacedPlan:
        self.made += 1
        if self.missing:
            raise FilesMissingError("It is gone.")
        argv = (str(self.binary), "--port", "1")
        chosen = f"plan {self.made}"
        return PlacedPlan(
            self.host, LaunchPlan("m", argv, {}, (self.target,), (), chosen=chosen, left_out=(self.draft,))
        )

    async def _start(self, plan: LaunchPlan) -> Diagnosis | None:
        self.started.append(plan)
        return None

    async def preflight(self) -> None:
        self.launcher.checked = await self.launcher.preflight()

    @property
    def chosen(self) -> list[str]:
        return [plan.chosen for plan in self.started]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_start_goes_by_the_plan_of_its_preflight(world: World) -> None:
    """It is made once; the next start is another one's, for which `auto` chooses anew."""

    async def main() -> None:
        await world.preflight()
        assert await world.launcher.start() is None
        assert (world.chosen, world.made) == (["plan 1"], 1)
        assert await world.launcher.start() is None
        assert world.chosen == ["plan 1", "plan 2"]

    asyncio.run(main())


@pytest.mark.parametrize("change", ["rewritten", "gone"])
@pytest.mark.parametrize("file", ["binary", "target", "draft"])
def test_a_plan_whose_files_changed_is_made_again(world: World, file: str, change: str) -> None:
    """The binary, a model, and a draft that was left out since it was no use."""

    async def main() -> None:
        await world.preflight()
        before, path = world.launcher.checked, getattr(world, file)
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes(b"22")
        assert await world.launcher.start() is None
        assert world.chosen == ["plan 2"]
        assert before is not None and world.launcher.refused != before.fingerprint

    asyncio.run(main())


def test_a_plan_by_other_settings_is_made_again(world: World) -> None:
    """A reload gives each engine limits anew, and may come while the preflight reads the settings, or after it."""

    async def main() -> None:
        await world.preflight()
        world.launcher.limits = StartLimits()
        assert await world.launcher.start() is None
        assert world.chosen == ["plan 2"]
        preflight = asyncio.create_task(world.preflight())
        await asyncio.sleep(0)
        world.launcher.limits = StartLimits()
        await preflight
        assert await world.launcher.start() is None
        assert world.chosen == ["plan 2", "plan 4"]

    asyncio.run(main())


def test_a_start_without_a_preflight_makes_its_plan(world: World) -> None:
    """As after a crash; what cannot be planned is a diagnosis."""

    async def main() -> None:
        assert await world.launcher.start() is None
        assert world.chosen == ["plan 1"]
        world.missing = True
        diagnosis = await world.launcher.start()
        assert diagnosis is not None and (diagnosis.code, len(world.started)) == ("missing_file", 1)

    asyncio.run(main())


class Lost:
    """A child that has ended with its host."""

    pid, port, base_url, last_output = 1, 9, "http://127.0.0.1:9", 0.0
    log = ("llama-server: error: out of memory",)
    ended = Ended(lost="box2: 3 beats missed")

    async def wait(self) -> Ended:
        return self.ended

    async def terminate(self, grace: float, hurry: asyncio.Event) -> Ended:
        return self.ended


class LostHost(LocalHost):
    """A host that is lost after `calls` calls, or right after the spawn."""

    def __init__(self, calls: int | None) -> None:
        super().__init__(1)
        self.calls = calls

    async def spawn(self, order: SpawnOrder, on_line: Callable[[str], None]) -> Any:
        return Lost()

    async def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self.calls is not None:
            if not self.calls:
                raise HostLostError("box2: 3 beats missed")
            self.calls -= 1
        return await super().run(work, *args, **kwargs)


@pytest.mark.parametrize("calls", [0, 1, 2, None])
def test_a_start_on_a_lost_host_is_not_the_engines_failure(world: World, calls: int | None) -> None:
    """Whenever it is lost: the log explains nothing, and the next start may succeed at once."""

    async def main() -> None:
        ledger = Ledger(Database(Path("/nowhere")))
        world.host = LostHost(calls)
        launcher = Launcher("m", world.plan, StartLimits(), ledger)
        diagnosis = await launcher.start()
        assert diagnosis is not None and (diagnosis.code, diagnosis.permanent) == ("node_lost", False)
        assert "box2: 3 beats missed" in diagnosis.cause and diagnosis.log_tail == ()
        assert launcher.running is None

    asyncio.run(main())
