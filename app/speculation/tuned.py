"""Turns the result of `tune` into a choice for `auto`: the chain, a sentence, and the figures."""

from __future__ import annotations

import time
from typing import Any

from app.config.speculation import named, parse_chain
from app.records.ledger import TuningRecord
from app.speculation.bandit import ModeChoice


def recommended(result: TuningRecord | None) -> ModeChoice | None:
    """Returns None without a complete result, or for the result of another version that cannot be parsed."""
    if result is None or result.partial:
        return None
    try:
        chain = parse_chain(result.recommended)
        rows = {str(row["name"]): _figures(row) for row in result.arms}
        best = next((row for row in result.arms if row["chain"] == result.recommended), None)
        gained = (
            f": {best['gain']:+.1%} (95 % interval {best['low']:+.1%} to {best['high']:+.1%})" if best and chain else ""
        )
    except (ValueError, TypeError, KeyError):
        return None
    day = time.strftime("%Y-%m-%d", time.localtime(result.at))
    return ModeChoice(chain, f"{named(chain)}: `llama-tandem tune` recommended it on {day}{gained}.", rows)


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """Returns an arm's figures in the form of measured traffic. Levels are requests in flight."""
    gain = {"mean": row["gain"], "low": row["low"], "high": row["high"]}
    return {"goodput": row["goodput_in_flight"], "gain": None if row["gain"] is None else gain, "blocks": row["blocks"]}
