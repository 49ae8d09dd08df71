"""From what an engine showed to what is said of its speculation."""

import pytest

from app.speculation.status import Evidence, Status, judge

DRAFTS, NGRAMS = "draft-simple", "ngram-mod"
LATER = ": the first drafted token in traffic will prove it"
NOTHING = "no token was drafted in the warm-up"


@pytest.mark.parametrize(
    ("chain", "evidence", "active", "mode", "reason"),
    [
        (DRAFTS, Evidence(drafted=5, slots=True), True, DRAFTS, ""),
        (DRAFTS, Evidence(drafted=5, slots=None), True, DRAFTS, ""),
        (DRAFTS, Evidence(drafted=0, slots=True), False, DRAFTS, NOTHING + LATER),
        (DRAFTS, Evidence(drafted=None, slots=True), False, DRAFTS, NOTHING + LATER),
        (DRAFTS, Evidence(drafted=0, slots=None), False, "none", NOTHING),
        (
            DRAFTS,
            Evidence(drafted=0, slots=False, log_says="vocab"),
            False,
            "none",
            "/slots says that it is off: vocab",
        ),
        (NGRAMS, Evidence(slots=True), True, NGRAMS, ""),
        (NGRAMS, Evidence(slots=False), False, "none", "/slots says that it is off"),
        (NGRAMS, Evidence(slots=None), False, NGRAMS, "this build does not report whether it is on" + LATER),
    ],
)
def test_what_is_not_proven_is_not_said_to_be_on(
    chain: str, evidence: Evidence, active: bool, mode: str, reason: str
) -> None:
    """A draft is proven by drafting; n-grams, which need repetition for it, by /slots."""
    status = judge(chain, chain, draft_mode=chain == DRAFTS, evidence=evidence)
    assert status == Status(chain, active, mode, reason)
