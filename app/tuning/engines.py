"""Starts and stops the arms' engines, each on its own port. No engine outlives the run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import httpx2

from app.config.settings import Settings
from app.config.speculation import NONE, drafts
from app.errors import LaunchRefusedError, UpstreamError
from app.models.ref import ModelRef
from app.planner import Planner
from app.records.ledger import Ledger
from app.supervisor.endings import ended_early
from app.supervisor.host import LocalHost, PlacedPlan
from app.supervisor.launcher import Launcher
from app.supervisor.readiness import StartLimits
from app.tuning import memory
from app.tuning.arms import Arm
from app.tuning.measure import connect

# After a crash the connections close before the process ends.
_LAST_BREATH_S = 2.0


@dataclass(slots=True)
class LoadedEngine:
    """A loaded engine and its HTTP client."""

    arm: Arm
    launcher: Launcher
    client: httpx2.AsyncClient

    @property
    def pid(self) -> int:
        assert self.launcher.running is not None
        return self.launcher.running.child.pid

    async def memory(self) -> tuple[int | None, int | None]:
        """Returns the used main memory and GPU memory in bytes, None if unknown."""
        return memory.resident(self.pid), await memory.on_gpus(self.pid)

    async def cause(self, error: UpstreamError) -> str:
        """Returns why an answer failed: the diagnosis if the engine has ended, else its error."""
        assert self.launcher.running is not None
        child = self.launcher.running.child
        try:
            return str(ended_early(await asyncio.wait_for(child.wait(), _LAST_BREATH_S), child.log))
        except TimeoutError:
            return str(error)


class CannotStartError(Exception):
    """An arm's engine does not start. The text says why."""


class TuningEngines:
    """Starts and stops engines. `close` stops the rest, even after a cancellation."""

    def __init__(self, settings: Settings, planner: Planner, ref: ModelRef, ledger: Ledger) -> None:
        self._planner = planner
        self._ref = ref
        self._ledger = ledger
        self._host = LocalHost(settings.engine_port)
        self._limits = StartLimits.of(settings)
        self._launchers: list[Launcher] = []
        self._clients: list[httpx2.AsyncClient] = []

    async def start(self, arm: Arm) -> LoadedEngine:
        """Starts an arm's engine. Raises CannotStartError, also if it would use another mode."""
        launcher = Launcher(self._ref.engine_key, lambda: self._plan(arm), self._limits, self._ledger)
        self._launchers.append(launcher)
        diagnosis = await launcher.start()
        if diagnosis is not None:
            # Its advice is about on_inert: fail in an entry, which arms use by default.
            raise CannotStartError(diagnosis.cause if diagnosis.code == "speculation_inert" else str(diagnosis))
        assert launcher.running is not None
        status = launcher.running.speculation
        if arm.chain and status.mode == NONE:
            await launcher.end()
            raise CannotStartError(f"speculation is off: {status.reason}")
        client = connect(launcher.running.address)
        self._clients.append(client)
        return LoadedEngine(arm, launcher, client)

    async def _plan(self, arm: Arm) -> PlacedPlan:
        plan = await self._planner.plan(self._ref, arm.chain)
        if plan.chain != arm.chain:
            raise LaunchRefusedError(plan.fallback_reason)
        # Plain decoding has its own arm. N-gram modes keep the fallback: without it, a build whose /slots does not
        # report speculation would count as failed.
        return PlacedPlan(self._host, replace(plan, fallback=None) if drafts(arm.chain) else plan)

    async def stop(self, loaded: LoadedEngine) -> None:
        """Closes our connections first, since an engine with an open connection does not exit."""
        await loaded.client.aclose()
        await loaded.launcher.end()

    def hurry(self) -> None:
        """Stops engines without a grace period."""
        for launcher in self._launchers:
            launcher.hurry.set()

    async def close(self) -> None:
        """Returns when all children are reaped."""
        for client in self._clients:
            await client.aclose()
        await asyncio.gather(*(launcher.end() for launcher in self._launchers))
