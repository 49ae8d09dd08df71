"""One section of `check`, and the line that sums them up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

OK, CANNOT_START, NO_ANSWER, FAILED_LAST = "ok", "cannot start", "no answer", "failed at the last start"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """One section of `check`; `outcome` is a model's, empty for the engine's section."""

    lines: tuple[str, ...]
    fine: bool
    outcome: str = ""


def tally(reports: Iterable[CheckReport]) -> str:
    """Returns the last line: the number of models, by outcome."""
    outcomes = Counter(report.outcome for report in reports if report.outcome)
    models = "1 model" if outcomes.total() == 1 else f"{outcomes.total()} models"
    kinds = (OK, CANNOT_START, NO_ANSWER, FAILED_LAST)
    return f"{models}: {', '.join(f'{outcomes[kind]} {kind}' for kind in kinds if outcomes[kind])}"
