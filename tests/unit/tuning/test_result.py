"""What the table, the chart and the ledger are made from."""

import json
from typing import Any

import pytest

from app.modes import parse_chain
from tests.support.tuned import result, track


def test_a_gain_is_recommended_with_its_options() -> None:
    """As an entry would hold it, and JSON keeps it."""
    chain = [{"mode": "draft-simple", "n_max": 8}]
    found = result(track("none", 50), track(chain, 65), track("ngram-mod", 50))
    fields: dict[str, Any] = json.loads(json.dumps(found.fields()))
    assert fields["recommended"] == chain and parse_chain(fields["recommended"]) == found.chain
    assert [row["name"] for row in fields["arms"]] == ["none", "draft-simple n_max 8", "ngram-mod"]
    best = fields["arms"][1]
    assert best["goodput"] == pytest.approx(65, rel=0.02) and best["low"] < 0.3 < best["high"]
    assert best["acceptance"] == 0.6 and best["memory"] == 300 << 20
    assert best["gain_by"]["chat"] == pytest.approx(0.3, abs=0.05) and fields["arms"][0]["acceptance"] is None


def test_no_gain_is_plain_decoding() -> None:
    """And so is a run that was broken off, whatever it saw."""
    assert result(track("none", 50), track("ngram-mod", 50)).fields()["recommended"] == "none"
    assert result(track("none", 50), track("ngram-mod", 90), rounds=0).fields()["recommended"] == "none"


def test_an_arm_that_failed_is_not_recommended() -> None:
    """What it did before does not count."""
    broken = track("ngram-mod", 90)
    broken.failed = "it died"
    found = result(track("none", 50), broken)
    assert found.best is None and found.arms[-1].failed == "it died"


def test_answers_that_differ_are_counted_and_shown() -> None:
    """Speculation must not change greedy text; rounding can."""
    other = track("ngram-mod", 90)
    other.texts["chat", 0] = "Answer to chat, told in short"
    del other.texts["repeat", 0]
    row = result(track("none", 50), other).arms[1]
    assert (row.answers, row.differing) == (3, 1)
    assert row.difference == ("chat", "nswer to chat, told at length", "nswer to chat, told in short")
