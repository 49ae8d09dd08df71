"""Cold starts and their traffic, made by hand."""

from collections.abc import Sequence

from app.records.ledger import ColdStart, Measurement
from app.speculation.trials import Trials

# Longer than any trial here
SPACING_S = 10_000.0


def requests(
    mode: str, start: int, speed: float, *, count: int = 4, tokens: int = 257, at_once: int = 1
) -> list[Measurement]:
    """Answers of `tokens` at `speed` tokens per second, one after another in groups of `at_once`, after start `start`.

    Numbers of starts begin at 1.
    """
    lasting = (tokens - 1) / speed
    ends = (start * SPACING_S + 1 + lasting * (number // at_once + 1) for number in range(count))
    return [Measurement("m", "k", mode, at, at_once, 0.0, 1 / speed, lasting, tokens, None, None) for at in ends]


def history(starts: Sequence[tuple[str, float | None]], *more: Measurement) -> Trials:
    """A cold start each: its mode, and the speed of four requests that it answered; None for no request at all."""
    cold = [ColdStart(number * SPACING_S, mode) for number, (mode, _) in enumerate(starts, 1)]
    answered = [(number, mode, speed) for number, (mode, speed) in enumerate(starts, 1) if speed is not None]
    return Trials(cold, [*more, *(row for number, mode, speed in answered for row in requests(mode, number, speed))])
