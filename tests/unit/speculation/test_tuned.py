"""What `tune` has found, on its way to `auto`."""

from dataclasses import replace
from typing import Any

import pytest

from app.config.speculation import written
from app.records.ledger import TuningRecord
from app.speculation.tuned import recommended
from tests.support.tuned import arm_record, result


def saved(*records: Any) -> TuningRecord:
    """As `tune` would keep it."""
    outcome = result(*records)
    return TuningRecord("k", "m", 1e9, outcome.partial, written(outcome.chain), [row.fields() for row in outcome.arms])


def test_a_recommendation_comes_with_its_figures() -> None:
    """The gain of the very chain that is recommended, and what each arm made at each level."""
    choice = recommended(saved(arm_record("none", 50), arm_record({"mode": "draft-simple", "n_max": 8}, 65)))
    assert choice is not None and choice.chain[0].options == {"n_max": 8}
    assert choice.auto_reason.startswith("draft-simple: `llama-tandem tune` recommended it on 2001-09-09: +30.")
    assert choice.auto_reason.endswith("%).") and "95 % interval +2" in choice.auto_reason
    figures = choice.figures["draft-simple n_max 8"]
    assert set(figures["goodput"]) == {"1", "2", "4"} and figures["gain"]["low"] < 0.3 < figures["gain"]["high"]
    assert choice.figures["none"]["gain"] is None and choice.figures["none"]["blocks"] == 16


def test_plain_decoding_may_be_what_is_recommended() -> None:
    """It has no gain over itself."""
    choice = recommended(saved(arm_record("none", 50), arm_record("ngram-mod", 50)))
    assert choice is not None and choice.chain == ()
    assert choice.auto_reason == "none: `llama-tandem tune` recommended it on 2001-09-09."


@pytest.mark.parametrize("arms", [7, [7], [{}], [{"name": "none", "chain": "none", "gain": "much"}]])
def test_what_another_version_kept_is_passed_over(arms: Any) -> None:
    """So is nothing, and half of a run."""
    whole = saved(arm_record("none", 50), arm_record("ngram-mod", 90))
    assert recommended(replace(whole, arms=arms)) is None
    assert recommended(replace(whole, partial=True)) is None and recommended(None) is None
