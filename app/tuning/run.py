"""Runs the race: rounds of blocks until the budget is used or one arm remains."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from app.config.speculation import PLAIN, Chain
from app.errors import UpstreamError
from app.tuning.arms import PLAIN_ARM, Arm
from app.tuning.design import (
    ANSWER_TOKENS,
    Cell,
    answer_tokens,
    beaten,
    cells,
    order,
    prompt_numbers,
    requests,
    too_slow,
    worse_half,
)
from app.tuning.engines import CannotStartError, LoadedEngine, TuningEngines
from app.tuning.measure import block, warm_up
from app.tuning.plan import in_minutes, plan_run
from app.tuning.prompts import Prompts
from app.tuning.result import ArmRecord, estimates
from app.tuning.statistics import Sample


class RaceProgress(Protocol):
    """Receives the progress of a race."""

    def say(self, text: str) -> None:
        """Prints a lasting line."""

    def show_step(self, what: str, arm: Arm, cell: Cell | None = None) -> None:
        """Shows the current step."""

    def show_block(self, arm: Arm, sample: Sample) -> None:
        """Shows a finished block."""


class PlainFailedError(Exception):
    """Plain decoding failed, so nothing can be compared. The text says why."""


class Race:
    """`records` and `rounds` are current at any time. Cancelling `run` leaves them as they are."""

    def __init__(
        self,
        arms: Sequence[Arm],
        engines: TuningEngines,
        prompts: Prompts,
        progress: RaceProgress,
        *,
        together: bool,
        own: Chain = PLAIN,
    ) -> None:
        """`own` are the entry's current modes."""
        self.records = {arm.name: ArmRecord(arm) for arm in arms}
        self.rounds = 0
        self._engines = engines
        self._prompts = prompts
        self._progress = progress
        self._together = together
        self._own = own
        # Arms that do not fit into the time, the most promising first
        self._reserve: list[Arm] = []
        self._tokens = 0
        self._turn = 0
        self._deadline = 0.0

    async def run(self, seconds: float) -> None:
        """Returns when the budget is used or only plain decoding remains. Raises PlainFailedError."""
        self._deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                while len(self._racing) > 1:
                    began = asyncio.get_running_loop().time()
                    await self._round()
                    self.rounds += 1
                    self._drop(asyncio.get_running_loop().time() - began)
        except TimeoutError:
            pass

    @property
    def _racing(self) -> list[Arm]:
        return [record.arm for record in self.records.values() if record.racing]

    @property
    def _left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def _round(self) -> None:
        """Runs a round. Each arm gets a new engine, so that none remembers answers of the last round."""
        plan = cells(self.rounds, list(self._prompts))
        turn = order(self._racing, self.rounds)
        for group in [turn] if self._together else [[arm] for arm in turn]:
            loaded = [engine for arm in group if (engine := await self._load(arm)) is not None]
            sent = dict.fromkeys(self._prompts, 0)
            for cell in plan:
                numbers = prompt_numbers(cell, len(self._prompts[cell.kind]), before=sent[cell.kind])
                sent[cell.kind] += cell.in_flight
                self._turn += 1
                for engine in order(loaded, self._turn):
                    if self.records[engine.arm.name].racing:
                        await self._block(engine, cell, numbers)
            for engine in loaded:
                await self._engines.stop(engine)

    async def _load(self, arm: Arm) -> LoadedEngine | None:
        if not self.records[arm.name].racing:
            return None
        self._progress.show_step("starting", arm)
        began = asyncio.get_running_loop().time()
        try:
            engine = await self._engines.start(arm)
        except CannotStartError as error:
            self._fail(arm, str(error))
            return None
        try:
            speed = await warm_up(engine.client)
        except UpstreamError as error:
            self._fail(arm, await engine.cause(error))
            await self._engines.stop(engine)
            return None
        if not self._tokens:
            each = requests(cells(0, list(self._prompts)))
            if speed:
                self._plan(asyncio.get_running_loop().time() - began, speed, each)
            count = each * len(self._racing)
            self._tokens = answer_tokens(speed, self._left, count) if speed else ANSWER_TOKENS[0]
        return engine

    def _plan(self, start: float, speed: float, requests_per_round: int) -> None:
        """Drops arms that do not fit into the budget. `start` is the duration of the first arm's start."""
        plan = plan_run(
            self._racing,
            self._own,
            start=start,
            tokens_per_second=speed,
            requests_per_round=requests_per_round,
            left=self._left,
        )
        self._progress.say(plan.words)
        self._reserve = list(plan.left_out)
        for arm in plan.left_out:
            self.records[arm.name].failed = f"The time was too short for it: all need about {in_minutes(plan.seconds)}."

    async def _block(self, engine: LoadedEngine, cell: Cell, numbers: Sequence[int]) -> None:
        arm, record = engine.arm, self.records[engine.arm.name]
        self._progress.show_step("answering", arm, cell)
        prompts = [self._prompts[cell.kind][number] for number in numbers]
        try:
            sample, texts = await block(engine.client, cell, prompts, self._tokens)
        except UpstreamError as error:
            self._fail(arm, await engine.cause(error))
            return
        if cell.in_flight == 1:
            # In a batch an answer may differ by rounding, since other batch sizes add up in another order.
            record.texts.setdefault((cell.kind, numbers[0]), texts[0])
        record.keep_memory(*await engine.memory())
        if sample is not None:
            record.samples.append(sample)
            self._progress.show_block(arm, sample)

    def _fail(self, arm: Arm, why: str) -> None:
        if arm == PLAIN_ARM:
            raise PlainFailedError(why)
        self.records[arm.name].failed = why
        self._progress.say(f"{arm.name} is left out: {why}")
        if self._reserve:
            instead = self._reserve.pop(0)
            self.records[instead.name].failed = ""
            self._progress.say(f"{instead.name} is tried in its place.")

    def _drop(self, seconds: float) -> None:
        """Drops arms. `seconds` is the duration of the last round."""
        racing = {arm.name for arm in self._racing}
        gains = {name: value for name, value in estimates(self.records).items() if name in racing}
        for name in beaten(gains):
            self._out(name, f"certainly slower than the best ({gains.pop(name).gain:+.1%})")
        if too_slow(self.rounds, self._left, seconds):
            for name in worse_half(gains):
                self._out(name, f"in the worse half ({gains[name].gain:+.1%}), and the budget is short")

    def _out(self, name: str, why: str) -> None:
        self.records[name].dropped = self.rounds
        self._progress.say(f"{name} is out after round {self.rounds}: {why}")
