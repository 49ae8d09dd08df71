"""`llama-tandem tune`: chooses the arms, runs the race until its end or a signal, writes table, chart and ledger."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from app import logs
from app.config.model_entry import LocalEntry
from app.config.settings import Settings
from app.config.speculation import PLAIN, drafts, named, written
from app.errors import ConfigError, LaunchRefusedError, RecordsError, TandemError
from app.models.catalog import Catalog
from app.models.gguf.header import read_header
from app.planner import Planner
from app.records.database import Database
from app.records.ledger import Ledger, TuningRecord
from app.speculation.compat import mtp_layers
from app.terminal import memory_in_words
from app.tuning import memory
from app.tuning.arms import PLAIN_ARM, Arm, Candidates, candidates
from app.tuning.chart import draw
from app.tuning.design import LEVELS
from app.tuning.engines import TuningEngines
from app.tuning.progress import LineProgress, TerminalProgress
from app.tuning.prompts import Prompts, read_prompts
from app.tuning.report import sentence, show
from app.tuning.result import TuningResult, arm_results
from app.tuning.run import PlainFailedError, Race
from app.tuning.texts import BUILT_IN

_LONGEST_MIN = 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of the command line. `minutes` is the budget of the whole run."""

    modes: tuple[str, ...] | None = None
    prompts: Path | None = None
    minutes: float = 10
    chart: Path | None = None
    as_json: bool = False


def tune(settings: Settings, name: str, options: TuneOptions) -> int:
    """Returns the exit code: 0, or 128 plus the signal that ended the run.

    Raises TandemError before any measurement.
    """
    logs.configure(settings.log_format, "debug" if settings.log_level == "debug" else "error")
    tuning = _Tuning(settings, name, options)
    try:
        return tuning.run()
    finally:
        tuning.close()


def _minutes(count: float) -> str:
    return "1 minute" if count == 1 else f"{count:g} minutes"


class _Tuning:
    def __init__(self, settings: Settings, name: str, options: TuneOptions) -> None:
        catalog = Catalog(settings)
        # A variant fixes one mode, and all modes are compared here.
        self._ref = catalog.resolve(name).pinned_to("")
        self._alias, entry = self._ref.alias, self._ref.entry
        if not isinstance(entry, LocalEntry):
            raise ConfigError([f"{self._alias} is attached at {entry.url}: tune needs engines that it can start."])
        if not 0 < options.minutes <= _LONGEST_MIN:
            raise ConfigError([f"--minutes: must be above 0 and at most {_LONGEST_MIN}, a week"])
        self._entry, self._catalog, self._options = entry, catalog, options
        self._settings = settings
        self._database = Database(
            settings.state_dir, report=lambda text: print(f"llama-tandem: {text}", file=sys.stderr)
        )
        self._ledger = Ledger(self._database)
        self._planner = Planner(settings, catalog, self._ledger)
        self._prompts: Prompts = read_prompts(options.prompts) if options.prompts else BUILT_IN
        self._candidates = self._choose()
        self._key = self._planner.key(self._ref)
        self._chart = options.chart or Path(f"tune-{self._alias.replace('/', '-')}.svg")
        self._signal = 0

    def _choose(self) -> Candidates:
        """Chooses the arms.

        Raises the errors of planning, and LaunchRefusedError if only plain decoding is possible.
        """
        layers = mtp_layers(read_header(self._catalog.spec(self._ref, ()).target))
        possible = candidates(self._entry, self._planner.dialect().speculation_modes, layers, self._options.modes)
        arms, left_out = [], dict(possible.left_out)
        for arm in possible.arms:
            why = self._refused(arm)
            if not why:
                arms.append(arm)
            elif arm == PLAIN_ARM:
                raise LaunchRefusedError(why)
            else:
                left_out[named(arm.chain)] = why
        if len(arms) < 2:
            reasons = " ".join(f"{mode}: {sentence(why)}" for mode, why in left_out.items())
            raise LaunchRefusedError(f"There is nothing to compare plain decoding with. {reasons}".strip())
        return Candidates(tuple(arms), tuple(left_out.items()))

    def _refused(self, arm: Arm) -> str:
        """Returns why files or build exclude an arm, known without a start, or ""."""
        try:
            settled = self._planner.settled(self._ref, arm.chain)
        except TandemError as error:
            return str(error)
        return settled.fallback_reason if settled.spec.chain != arm.chain else ""

    def run(self) -> int:
        seconds = self._options.minutes * 60
        console = Console(stderr=True)
        progress = (TerminalProgress if console.is_terminal else LineProgress)(console, seconds)
        engines = TuningEngines(self._settings, self._planner, self._ref, self._ledger)
        for line in self._notices():
            progress.say(line)
        own = self._entry.chain or PLAIN
        race = Race(self._candidates.arms, engines, self._prompts, progress, together=self._together(), own=own)
        progress.records = race.records
        with progress, asyncio.Runner() as runner:
            ended = runner.run(self._watched(race, engines, seconds))
        if ended and not any(record.samples for record in race.records.values()) and not self._signal:
            raise LaunchRefusedError(f"Nothing was measured: {sentence(ended)}")
        self._tell(race, ended)
        return 128 + self._signal if self._signal else 0

    def close(self) -> None:
        """Writes the rest for the ledger."""
        self._database.close()

    async def _watched(self, race: Race, engines: TuningEngines, seconds: float) -> str:
        """Runs the race and returns why it ended early, or "". All children have ended when it returns."""
        running = asyncio.ensure_future(race.run(seconds))

        def signalled(number: signal.Signals) -> None:
            if self._signal:
                engines.hurry()
            self._signal = self._signal or number
            running.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signalled, number)
        try:
            await running
        except asyncio.CancelledError:
            return f"it was stopped by {signal.Signals(self._signal).name}" if self._signal else "it was cancelled"
        except PlainFailedError as error:
            return f"plain decoding failed: {error}"
        finally:
            await engines.close()
        return ""

    def _sizes(self) -> list[int]:
        """Returns the bytes of each arm's files."""
        target, draft = (sum(path.stat().st_size for path in files) for files in self._catalog.files(self._ref))
        return [target + (draft if drafts(arm.chain) else 0) for arm in self._candidates.arms]

    def _together(self) -> bool:
        return memory.room_for_all(self._sizes())

    def _notices(self) -> Sequence[str]:
        """Prints warnings before the run begins."""
        arms = [arm.name for arm in self._candidates.arms]
        notices = [f"Comparing {', '.join(arms[:-1])} and {arms[-1]} for {_minutes(self._options.minutes)}."]
        notices += [f"{mode} is not tried: {sentence(why)}" for mode, why in self._candidates.left_out]
        need, free = max(self._sizes()), memory.free()
        if need > free:
            notices.append(
                f"Memory is short: {memory_in_words(free)} are free and the files have {memory_in_words(need)}. "
                "Stop a gateway that has models loaded, or the measurements will be those of a busy disk."
            )
        most = min(len(some) for some in self._prompts.values())
        if len(self._prompts) < len(LEVELS) and most < sum(LEVELS):
            notices.append(
                f"A round sends {sum(LEVELS)} prompts and there are {most}: some come twice, which flatters ngram-mod."
            )
        return notices

    def _tell(self, race: Race, ended: str) -> None:
        """Saves, then prints, so that a broken pipe cannot lose the measurements."""
        result = TuningResult(
            alias=self._alias,
            key=self._key,
            at=time.time(),
            rounds=race.rounds,
            kinds=tuple(self._prompts),
            levels=LEVELS,
            slots=self._entry.parallel,
            arms=arm_results(race.records),
            left_out=self._candidates.left_out,
            ended=ended,
        )
        fields, not_saved = result.fields(), self._keep(result)
        # An empty result would replace one that took hours.
        chart = self._draw(result) if any(row.blocks for row in result.arms) else None
        if self._options.as_json:
            print(json.dumps(fields | {"chart": chart, "not_saved": not_saved or None}, indent=2))
            return
        # In a file, lines may be longer than 80 columns.
        show(result, Console(width=None if sys.stdout.isatty() else 120))
        if not_saved:
            print(f"Not saved: {not_saved}")
        if chart:
            print(f"Chart: {chart}")

    def _keep(self, result: TuningResult) -> str:
        """Saves the result. Returns why it could not, or "" also if there is nothing to save."""
        # A run without a comparison does not show that plain decoding is best, so `auto` must not use it.
        if not any(row.blocks and (row.arm.chain or result.partial) for row in result.arms):
            return ""
        earlier = self._ledger.tuned(self._key)
        if earlier is not None and result.yields_to(earlier):
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(earlier.at))
            return (
                f"the result of {day} stays, with {earlier.blocks} blocks of plain decoding; here are {result.blocks}."
            )
        arms = [row.fields() for row in result.arms]
        tuned = TuningRecord(self._key, self._alias, result.at, result.partial, written(result.chain), arms)
        try:
            self._ledger.record_tuned(tuned)
        except RecordsError as error:
            return str(error)
        return ""

    def _draw(self, result: TuningResult) -> str | None:
        """Writes the chart. Returns its path, or None if it cannot be written."""
        try:
            self._chart.write_text(draw(result), encoding="utf-8")
        except OSError as error:
            print(f"llama-tandem: {self._chart}: cannot be written: {error.strerror}", file=sys.stderr)
            return None
        return str(self._chart.absolute())
