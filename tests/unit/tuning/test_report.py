"""What a person reads at the end."""

import io
import re
from typing import Any

import pytest
import yaml
from rich.console import Console

from app.config.model_entry import LocalEntry
from app.config.speculation import parse_chain
from app.tuning.report import as_entry, show, words
from app.tuning.result import TuningResult
from tests.support.tuned import arm_record, result


def text(tuned: TuningResult) -> str:
    out = io.StringIO()
    show(tuned, Console(file=out, width=80))
    return out.getvalue()


@pytest.mark.parametrize(
    "chain",
    ["none", "ngram-mod", {"mode": "draft-simple", "n_max": 8}, [{"mode": "draft-mtp", "n_max": 3}, "ngram-mod"]],
)
def test_the_line_for_the_entry_says_what_was_measured(chain: Any) -> None:
    """Copied into tandem.yaml it is the same chain."""
    written = yaml.safe_load(f"speculation: {as_entry(parse_chain(chain))}")
    fields = {"target": {"path": "/t.gguf"}, "draft": {"path": "/d.gguf"}, **written}
    assert LocalEntry.model_validate(fields).chain == parse_chain(chain)


def test_a_gain_is_recommended_in_words() -> None:
    """With its interval, and where it loses."""
    best = arm_record([{"mode": "draft-simple", "n_max": 8}], 65)
    best.samples = [s if s.cell.kind != "chat" else type(s)(s.cell, 100, 2.2) for s in best.samples]
    page = text(result(arm_record("none", 50), best))
    assert "Recommendation: draft-simple n_max 8. It delivers" in page and "95 % interval" in page
    assert "It is slower than plain decoding with chat (" in page
    assert "In tandem.yaml: speculation: {mode: draft-simple, n_max: 8}" in page


def test_no_gain_is_explained() -> None:
    """The best arm is named with what it lacks."""
    page = " ".join(text(result(arm_record("none", 50), arm_record("ngram-mod", 50.2))).split())
    assert "Recommendation: none, plain decoding. A change needs a gain that is certain and at least 2%;" in page
    assert "the best arm, ngram-mod, is at +" in page


def test_tables_fit_into_80_columns() -> None:
    """With the longest name of the usual arms."""
    page = text(result(arm_record("none", 50), arm_record([{"mode": "draft-simple", "n_max": 16}], 65)))
    assert re.search(r"draft-simple n_max 16 +6\d\.\d +\+30%", page) and "…" not in page


def test_what_was_left_out_is_told_with_the_reason() -> None:
    """Every reason ends in one full stop."""
    broken = arm_record("ngram-mod", 50, 0)
    broken.failed = "It died."
    tuned = result(
        arm_record("none", 50), broken, left_out=(("draft-mtp", "no layers"),), ended="it was stopped by SIGINT"
    )
    said = list(words(tuned))
    assert "ngram-mod was left out: It died." in said and "draft-mtp was not tried: no layers." in said
    assert "The run ended early: it was stopped by SIGINT." in said


def test_answers_that_changed_are_shown() -> None:
    """Both, from shortly before they part."""
    other = arm_record("ngram-mod", 50)
    other.texts["chat", 0] = "Answer to chat, told in short"
    said = "\n".join(words(result(arm_record("none", 50), other)))
    assert "ngram-mod changed 1 of 4 greedy answers. The first, chat: plain 'nswer" in said
    assert "same greedy answers" not in said
