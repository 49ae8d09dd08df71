"""Figures of the last answers."""

from __future__ import annotations

from app.records.metrics import Finished
from app.records.recent import RecentAnswers, RecentFigures


def answer(alias: str = "m", tokens: int = 11, seconds: float = 1.0, **more: int) -> Finished:
    return Finished(alias, 200, seconds + 0.5, ttft=0.5, completion_tokens=tokens, **more)


def test_nothing_is_said_of_what_has_not_answered() -> None:
    recent = RecentAnswers()
    recent.add(Finished("m", 500, 1.0))
    assert recent.figures("m") == RecentFigures()


def test_names_of_one_engine_count_together() -> None:
    """Long answers count more than short ones."""
    recent = RecentAnswers()
    recent.add(answer(drafted=10, accepted=5))
    recent.add(answer("m:preset", tokens=31, drafted=30, accepted=25))
    recent.add(answer("other", tokens=1001))
    assert recent.figures("m", "m:preset") == RecentFigures(30 / 40, 40 / 2.0)


def test_only_the_last_answers_count() -> None:
    recent = RecentAnswers()
    recent.add(answer(tokens=100_001))
    for _ in range(20):
        recent.add(answer())
    assert recent.figures("m") == RecentFigures(None, 10.0)
