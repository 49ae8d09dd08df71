"""Shows a run's progress: a live table on a terminal, one line per block elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from app.config.speculation import NONE
from app.terminal import bar
from app.tuning.arms import Arm
from app.tuning.design import Cell, Estimate
from app.tuning.result import ArmRecord, estimates
from app.tuning.statistics import Sample, mean_goodput


class LineProgress:
    """For logs and pipes, on stderr."""

    def __init__(self, console: Console, seconds: float) -> None:
        self.records: Mapping[str, ArmRecord] = {}
        self._console = console
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def _left(self) -> str:
        minutes, seconds = divmod(max(0, round(self._end - time.monotonic())), 60)
        return f"{minutes}:{seconds:02} left"

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=not self._console.is_terminal)

    def show_step(self, what: str, arm: Arm, cell: Cell | None = None) -> None:
        pass

    def show_block(self, arm: Arm, sample: Sample) -> None:
        cell = sample.cell
        where = f"round {cell.round + 1}, {cell.kind}, {cell.in_flight} in flight"
        self.say(f"{where}, {arm.name}: {sample.goodput:.1f} tok/s, {self._left}")


class TerminalProgress(LineProgress):
    """For a terminal."""

    def __init__(self, console: Console, seconds: float) -> None:
        super().__init__(console, seconds)
        self._now = Text("starting")
        self._spinner = Spinner("dots", self._now)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=5, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show_step(self, what: str, arm: Arm, cell: Cell | None = None) -> None:
        where = f": {cell.kind}, {cell.in_flight} in flight, round {cell.round + 1}" if cell else ""
        self._now = Text(f"{what} {arm.name}{where}")

    def show_block(self, arm: Arm, sample: Sample) -> None:
        pass

    def _render(self) -> RenderableType:
        used = 1 - max(0.0, self._end - time.monotonic()) / self._seconds
        self._spinner.update(text=Text.assemble(self._now, (f"  {bar(used)} {self._left}", "dim")))
        table = Table(box=None, padding=(0, 2), show_edge=False)
        for name in ("", "blocks", "tok/s", "gain", ""):
            table.add_column(name, justify="right" if name else "left", header_style="dim")
        gains = estimates(self.records) if self.records else {}
        for name, record in self.records.items():
            speed, gain = mean_goodput(record.samples), gains.get(name)
            state = "left out" if record.failed else f"out after round {record.dropped}" if record.dropped else ""
            table.add_row(
                Text(name, style="" if record.racing else "dim"),
                str(len(record.samples) or ""),
                f"{speed:.1f}" if speed else "",
                "plain" if name == NONE else _gain(gain),
                Text(state, style="dim"),
            )
        return Group(table, self._spinner)


def _gain(gain: Estimate | None) -> Text:
    """Formats a gain. It is grey while its interval includes zero."""
    if gain is None:
        return Text("")
    certain = gain.low is not None and gain.high is not None and (gain.low > 0 or gain.high < 0)
    return Text(f"{gain.gain:+.1%}", style="" if certain else "dim")
