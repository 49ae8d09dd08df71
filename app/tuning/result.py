"""The result of a run as plain values: for the table, the chart, the ledger and `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.config.speculation import NONE, PLAIN, Chain, written
from app.records.ledger import TuningRecord
from app.tuning.arms import PLAIN_ARM, Arm
from app.tuning.design import WANTED_ROUNDS, Cell, Estimate
from app.tuning.statistics import Sample, acceptance, estimate, log_ratios, mean_gain, mean_goodput, recommended


@dataclass(slots=True)
class ArmRecord:
    """One arm's record during the race. Memory is the maximum in bytes, or None if unknown.

    `texts` are its greedy answers to prompts that were sent alone, by (kind, number). `dropped` is the round, from 1,
    after which it left the race, or 0. `failed` says why it failed for good.
    """

    arm: Arm
    samples: list[Sample] = field(default_factory=list)
    texts: dict[tuple[str, int], str] = field(default_factory=dict)
    memory: int | None = None
    gpu_memory: int | None = None
    dropped: int = 0
    failed: str = ""

    @property
    def racing(self) -> bool:
        return not self.dropped and not self.failed

    def keep_memory(self, memory: int | None, gpu: int | None) -> None:
        """Keeps the maximum of old and new memory."""
        self.memory = max(filter(None, (self.memory, memory)), default=None)
        self.gpu_memory = max(filter(None, (self.gpu_memory, gpu)), default=None)


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One line of the table. `goodput` is tokens per second. `gain_by` has gains by kind and by requests in flight."""

    arm: Arm
    goodput: float | None
    estimate: Estimate | None
    blocks: int
    gain_by: Mapping[str | int, float]
    goodput_by_level: Mapping[int, float]
    acceptance: float | None
    memory: int | None
    gpu_memory: int | None
    answers: int
    differing: int
    difference: tuple[str, str, str] | None
    dropped: int
    failed: str

    @property
    def name(self) -> str:
        return self.arm.name

    def fields(self) -> dict[str, Any]:
        """Returns the JSON fields. Gains are shares (0.12 is 12 %), memory is in bytes."""
        estimate = self.estimate
        return {
            "name": self.name,
            "chain": written(self.arm.chain),
            "goodput": self.goodput,
            "goodput_in_flight": {str(level): value for level, value in self.goodput_by_level.items()},
            "gain": estimate.gain if estimate else None,
            "low": estimate.low if estimate else None,
            "high": estimate.high if estimate else None,
            "blocks": self.blocks,
            "gain_by": {str(key): value for key, value in self.gain_by.items()},
            "acceptance": self.acceptance,
            "memory": self.memory,
            "gpu_memory": self.gpu_memory,
            "greedy_answers": self.answers,
            "greedy_answers_differing": self.differing,
            "dropped_after_round": self.dropped or None,
            "failed": self.failed or None,
        }


@dataclass(frozen=True, slots=True)
class TuningResult:
    """`arms` begin with plain decoding. `left_out` were never started.

    `ended` says why the run ended early, or is empty.
    """

    alias: str
    key: str
    at: float
    rounds: int
    kinds: tuple[str, ...]
    levels: tuple[int, ...]
    slots: int
    arms: tuple[ArmResult, ...]
    left_out: tuple[tuple[str, str], ...]
    ended: str = ""

    @property
    def missing_data(self) -> str:
        """Returns what the data lack for a recommendation, or ""."""
        if self.rounds == 0:
            return "no round is complete"
        if self.ended and self.rounds < WANTED_ROUNDS:
            return f"it ended after {_rounds(self.rounds)}, and needs at least {WANTED_ROUNDS}"
        racing = [row.estimate for row in self.arms if row.estimate and not row.failed and not row.dropped]
        if any(estimate.low is None for estimate in racing):
            return f"{_rounds(self.rounds)} is too little for an interval"
        return ""

    @property
    def partial(self) -> bool:
        return bool(self.missing_data)

    @property
    def blocks(self) -> int:
        """The number of blocks with plain decoding, the reference of all others."""
        return self.arms[0].blocks if self.arms else 0

    def yields_to(self, earlier: TuningRecord | None) -> bool:
        """Tells whether the ledger's result under this key is better: complete, or from a run that was not
        cut short."""
        if earlier is None or earlier.partial != self.partial:
            return earlier is not None and self.partial
        return bool(self.ended) and self.blocks < earlier.blocks

    @property
    def best(self) -> ArmResult | None:
        """The arm that should replace plain decoding, or None."""
        if self.partial:
            return None
        name = recommended({row.name: row.estimate for row in self.arms if row.estimate and not row.failed})
        return next((row for row in self.arms if row.name == name), None)

    @property
    def chain(self) -> Chain:
        """The recommended chain."""
        return self.best.arm.chain if self.best else PLAIN

    def fields(self) -> dict[str, Any]:
        return {
            "alias": self.alias,
            "key": self.key,
            "at": self.at,
            "partial": self.partial,
            "ended": self.ended or None,
            "rounds": self.rounds,
            "kinds": list(self.kinds),
            "recommended": written(self.chain),
            "arms": [row.fields() for row in self.arms],
            "left_out": [{"mode": name, "reason": why} for name, why in self.left_out],
        }


def _rounds(count: int) -> str:
    return "one round" if count == 1 else f"{count} rounds"


def estimates(records: Mapping[str, ArmRecord]) -> dict[str, Estimate]:
    """Returns the current gains of all arms with blocks to compare, plain decoding excluded."""
    plain = records[NONE].samples
    others = [record for record in records.values() if record.arm != PLAIN_ARM and not record.failed]
    compared = {record.arm.name: log_ratios(record.samples, plain) for record in others}
    count = sum(bool(ratios) for ratios in compared.values())
    gains = {name: estimate(ratios, count) for name, ratios in compared.items()}
    return {name: value for name, value in gains.items() if value is not None}


def arm_results(records: Mapping[str, ArmRecord]) -> tuple[ArmResult, ...]:
    """Returns plain decoding, then the others, best first and failed ones last."""
    gains = estimates(records)
    rows = [_row(record, records[NONE], gains.get(record.arm.name)) for record in records.values()]
    return tuple(
        sorted(rows, key=lambda row: (row.name != NONE, bool(row.failed), -(row.estimate.gain if row.estimate else -1)))
    )


def _row(record: ArmRecord, plain: ArmRecord, estimate: Estimate | None) -> ArmResult:
    base = mean_goodput(plain.samples)
    ratios = log_ratios(record.samples, plain.samples) if record is not plain else {}
    kinds, levels = {cell.kind for cell in ratios}, {cell.in_flight for cell in ratios}
    parts: dict[str | int, dict[Cell, float]] = {
        **{kind: {cell: y for cell, y in ratios.items() if cell.kind == kind} for kind in kinds},
        **{level: {cell: y for cell, y in ratios.items() if cell.in_flight == level} for level in levels},
    }
    gains = {part: mean_gain(some) for part, some in parts.items()}
    by_level = {
        level: mean_goodput([sample for sample in record.samples if sample.cell.in_flight == level])
        for level in sorted({sample.cell.in_flight for sample in record.samples})
    }
    shared = [number for number in record.texts if number in plain.texts] if record is not plain else []
    differing = [number for number in shared if record.texts[number] != plain.texts[number]]
    goodput = base if record is plain else base * (1 + estimate.gain) if base and estimate else None
    return ArmResult(
        arm=record.arm,
        goodput=goodput,
        estimate=estimate,
        blocks=len(record.samples),
        gain_by={part: gain for part, gain in gains.items() if gain is not None},
        goodput_by_level={level: value for level, value in by_level.items() if value is not None},
        acceptance=acceptance(record.samples),
        memory=record.memory,
        gpu_memory=record.gpu_memory,
        answers=len(shared),
        differing=len(differing),
        difference=_apart(differing[0][0], plain.texts[differing[0]], record.texts[differing[0]])
        if differing
        else None,
        dropped=record.dropped,
        failed=record.failed,
    )


def _apart(kind: str, plain: str, other: str) -> tuple[str, str, str]:
    """Returns the kind of text, and both answers from shortly before they differ."""
    at = next((i for i, (a, b) in enumerate(zip(plain, other, strict=False)) if a != b), min(len(plain), len(other)))
    start = max(0, at - 20)
    return kind, plain[start : at + 30], other[start : at + 30]
