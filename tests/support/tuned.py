"""Results made by hand."""

import math
from typing import Any

from app.config.speculation import parse_chain
from app.tuning.arms import Arm, label
from app.tuning.design import cells
from app.tuning.result import ArmRecord, TuningResult, arm_results
from app.tuning.statistics import Sample

KINDS = ("code edit", "chat", "summary", "repeat")


def arm_record(chain: Any, speed: float, rounds: int = 4, wobble: float = 0.01) -> ArmRecord:
    """An arm that decodes at `speed`, give or take."""
    parsed = parse_chain(chain)
    found = ArmRecord(Arm(label(parsed), parsed), memory=300 << 20)
    for number in range(rounds):
        for at, cell in enumerate(cells(number, KINDS)):
            seconds = 100 / speed * math.exp(wobble * math.sin(number * 7 + at * 3 + speed))
            found.samples.append(Sample(cell, 100, seconds, 50 if parsed else 0, 30 if parsed else 0))
    found.texts = {(kind, 0): f"Answer to {kind}, told at length" for kind in KINDS}
    return found


def result(*records: ArmRecord, rounds: int = 4, **more: Any) -> TuningResult:
    fields: dict[str, Any] = {"alias": "org/model", "key": "k", "at": 1.0, "kinds": KINDS, "levels": (1, 2, 4)}
    fields |= {"slots": 1, "left_out": (), "rounds": rounds}
    return TuningResult(arms=arm_results({item.arm.name: item for item in records}), **(fields | more))
