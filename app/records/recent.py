"""Keeps speed and acceptance of each engine's last answers, in memory."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

from app.records.metrics import Finished

# Answers per name that clients use
_ANSWERS = 20


@dataclass(frozen=True, slots=True)
class RecentFigures:
    """Figures of the last answers: the share of accepted draft tokens, and the tokens per second of one answer.

    None means that nothing was drafted, or that there were no answers.
    """

    acceptance: float | None = None
    tok_s: float | None = None


@dataclass(slots=True)
class RecentAnswers:
    """The last answers by requested name, which may be a variant or a preset."""

    _answers: defaultdict[str, deque[Finished]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_ANSWERS))
    )

    def add(self, answer: Finished) -> None:
        if answer.tpot is not None:
            self._answers[answer.alias].append(answer)

    def figures(self, *names: str) -> RecentFigures:
        """Returns the figures of an engine that answers to all of these names."""
        answers = [answer for name in names for answer in self._answers.get(name, ())]
        drafted = sum(answer.drafted or 0 for answer in answers)
        accepted = sum(answer.accepted or 0 for answer in answers if answer.drafted)
        tokens = sum((answer.completion_tokens or 1) - 1 for answer in answers)
        seconds = sum((answer.tpot or 0.0) * ((answer.completion_tokens or 1) - 1) for answer in answers)
        return RecentFigures(accepted / drafted if drafted else None, tokens / seconds if seconds else None)
