"""What the table, the chart and the ledger are made from."""

import json
from typing import Any

import pytest

from app.config.speculation import parse_chain, written
from app.records.ledger import TuningRecord
from app.tuning.result import TuningResult
from tests.support.tuned import arm_record, result


def test_a_gain_is_recommended_with_its_options() -> None:
    """As an entry would hold it, and JSON keeps it."""
    chain = [{"mode": "draft-simple", "n_max": 8}]
    tuned = result(arm_record("none", 50), arm_record(chain, 65), arm_record("ngram-mod", 50))
    fields: dict[str, Any] = json.loads(json.dumps(tuned.fields()))
    assert fields["recommended"] == chain and parse_chain(fields["recommended"]) == tuned.chain
    assert [row["name"] for row in fields["arms"]] == ["none", "draft-simple n_max 8", "ngram-mod"]
    best = fields["arms"][1]
    assert best["goodput"] == pytest.approx(65, rel=0.02) and best["low"] < 0.3 < best["high"]
    assert best["acceptance"] == 0.6 and best["memory"] == 300 << 20
    assert best["gain_by"]["chat"] == pytest.approx(0.3, abs=0.05) and fields["arms"][0]["acceptance"] is None


def test_no_gain_is_plain_decoding() -> None:
    """And so is a run that was broken off, whatever it saw."""
    assert result(arm_record("none", 50), arm_record("ngram-mod", 50)).fields()["recommended"] == "none"
    assert result(arm_record("none", 50), arm_record("ngram-mod", 90), rounds=0).fields()["recommended"] == "none"


@pytest.mark.parametrize(
    ("rounds", "ended", "missing_data"),
    [
        (0, "", "no round is complete"),
        (1, "", "one round is too little for an interval"),
        (1, "stopped", "it ended after one round, and needs at least 4"),
        (3, "stopped", "it ended after 3 rounds, and needs at least 4"),
        (3, "", ""),
        (4, "stopped", ""),
    ],
)
def test_too_little_is_partial(rounds: int, ended: str, missing_data: str) -> None:
    """It recommends nothing: a run that was cut short, or one without an interval."""
    tuned = result(arm_record("none", 50, rounds), arm_record("ngram-mod", 90, rounds), rounds=rounds, ended=ended)
    assert (tuned.missing_data, tuned.partial, tuned.best is None) == (
        missing_data,
        bool(missing_data),
        bool(missing_data),
    )


def test_better_evidence_stays() -> None:
    """A whole result outlasts a partial one; of two alike the later one counts, unless it was cut short before."""

    def run(rounds: int, ended: str = "") -> TuningResult:
        return result(arm_record("none", 50, rounds), arm_record("ngram-mod", 90, rounds), rounds=rounds, ended=ended)

    def record_of(tuned: TuningResult) -> TuningRecord:
        arms = [row.fields() for row in tuned.arms]
        return TuningRecord("k", "m", 1.0, tuned.partial, written(tuned.chain), arms)

    assert not run(1).yields_to(None)
    assert run(1).yields_to(record_of(run(4))) and run(3, "stopped").yields_to(record_of(run(3)))
    assert not run(4).yields_to(record_of(run(1))) and not run(3).yields_to(record_of(run(9)))
    assert run(5, "stopped").yields_to(record_of(run(9))) and not run(9, "stopped").yields_to(record_of(run(5)))
    assert run(1, "stopped").yields_to(record_of(run(2, "stopped")))


@pytest.mark.parametrize("arms", [[], {}, 7, [7], [{"blocks": "many"}]])
def test_what_somebody_else_kept_is_of_no_blocks(arms: Any) -> None:
    """Another version of ours may have written it."""
    assert TuningRecord("k", "m", 1.0, False, "none", arms).blocks == 0


def test_an_arm_that_failed_is_not_recommended() -> None:
    """What it did before does not count."""
    broken = arm_record("ngram-mod", 90)
    broken.failed = "it died"
    tuned = result(arm_record("none", 50), broken)
    assert tuned.best is None and tuned.arms[-1].failed == "it died"


def test_answers_that_differ_are_counted_and_shown() -> None:
    """Speculation must not change greedy text; rounding can."""
    other = arm_record("ngram-mod", 90)
    other.texts["chat", 0] = "Answer to chat, told in short"
    del other.texts["repeat", 0]
    row = result(arm_record("none", 50), other).arms[1]
    assert (row.answers, row.differing) == (3, 1)
    assert row.difference == ("chat", "nswer to chat, told at length", "nswer to chat, told in short")
