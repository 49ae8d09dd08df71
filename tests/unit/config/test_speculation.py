"""Speculation as it is written in an entry: what it means, and what is refused at load."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.config.model_entry import LocalEntry
from app.config.speculation import MODES, Step, named, parse_chain, written

FILES = {"path": "/m/x.gguf"}


def entry(speculation: Any = None, *, draft: bool = True) -> LocalEntry:
    fields: dict[str, Any] = {"target": FILES} | ({"draft": FILES} if draft else {})
    return LocalEntry.model_validate(fields | ({} if speculation is None else {"speculation": speculation}))


def test_a_draft_and_no_word_is_draft_simple() -> None:
    """Whoever names a draft wants it used."""
    assert entry().chain == (Step("draft-simple"),)
    assert entry(draft=False).chain == ()


@pytest.mark.parametrize(
    ("written", "chain"),
    [
        ("none", "none"),
        (False, "none"),
        ("ngram-mod", "ngram-mod"),
        (["draft-simple", "ngram-simple"], "draft-simple,ngram-simple"),
        ([{"mode": "draft-simple", "n_max": 8}, "ngram-mod"], "draft-simple,ngram-mod"),
        ({"mode": ["draft-simple", "ngram-mod"], "on_inert": "fail"}, "draft-simple,ngram-mod"),
        ({"mode": "draft-simple", "n_max": 8, "n_min": 0, "p_min": 0.0, "force": True}, "draft-simple"),
        ({"on_logprobs": "pass"}, "draft-simple"),
    ],
)
def test_every_way_to_write_a_mode(written: Any, chain: str) -> None:
    """A name, a list, a mapping with options; a mapping without a mode keeps the default."""
    parsed = entry(written).chain
    assert parsed is not None and named(parsed) == chain


def test_auto_leaves_the_choice_open() -> None:
    """With and without a draft; its options are its own."""
    assert entry("auto").chain is None
    assert entry({"mode": "auto", "on_inert": "fail"}, draft=False).chain is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"mode": "draft-simple", "n_max": 0}, "n_max of draft-simple must be at least 1"),
        ({"mode": "draft-simple", "n_max": 2, "n_min": 3}, "n_min 3 of draft-simple is above n_max 2"),
        ({"mode": "draft-simple", "p_min": 1.01}, "must be from 0 to 1"),
        ({"mode": "draft-simple", "p_min": float("nan")}, "must be from 0 to 1, not nan"),
        ({"mode": "ngram-mod", "n_match": 1025}, "n_match of ngram-mod must be from 1 to 1024"),
        ({"mode": "ngram-simple", "size_m": 100000}, "size_m of ngram-simple must be from 1 to 1024"),
        ({"mode": "draft-simple", "n_max": True}, "must be a whole number"),
        (["auto", "ngram-mod"], "auto stands alone"),
        (["none"], "none stands alone"),
        (True, "n_max: 8}; not True"),
        ({"mode": None}, "n_max: 8}; not None"),
        ({"mode": "draft-simple", "n_match": 3}, "has no option 'n_match'; its options: n_max"),
        ({"mode": "draft-simple", "sampling": "hot"}, "must be greedy or probabilistic"),
        ({"mode": "auto", "n_max": 3}, "auto chooses its own options; leave out n_max"),
        ({"mode": ["ngram-mod"], "n_max": 3}, "options go with their mode"),
        ({"n_max": 3}, "n_max without a mode"),
        ("draft", "unknown mode 'draft'; did you mean draft-"),
        (["ngram-mod", "ngram-mod"], "names a mode twice"),
        (["draft-simple", "draft-mtp"], "one draft mode at a time"),
        ([], "empty list"),
        ([3], "must be a mode or a mapping"),
        ({"mode": "ngram-mod", "on_inert": "explode"}, "'plain' or 'fail'"),
    ],
)
def test_what_cannot_work_is_refused_in_words(written: Any, words: str) -> None:
    """Also what llama-server would take and abort on later."""
    with pytest.raises(ValidationError) as refused:
        entry(written)
    assert words in str(refused.value)


@pytest.mark.parametrize("mode", [mode.name for mode in MODES.values() if mode.draft_model])
def test_modes_with_a_draft_model_need_one(mode: str) -> None:
    """Without it llama-server logs a line and decodes plainly."""
    with pytest.raises(ValidationError, match="needs a draft model"):
        entry(mode, draft=False)


@pytest.mark.parametrize("chain", ["none", "ngram-mod", [{"mode": "draft-simple", "n_max": 8}, "ngram-mod"]])
def test_a_chain_survives_being_written(chain: object) -> None:
    """What `tune` recommends is kept as JSON, and an entry may hold it."""
    assert parse_chain(json.loads(json.dumps(written(parse_chain(chain))))) == parse_chain(chain)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"speculation": {"mode": "draft-simple", "n_max": 2048}}, "one slot do not fit into a batch of 2048"),
        ({"speculation": {"mode": "draft-simple", "n_max": 2047}}, ""),
        ({"speculation": {"mode": "draft-simple", "n_max": 511}, "parallel": 4}, ""),
        ({"speculation": {"mode": "draft-simple", "n_max": 512}, "parallel": 4}, "512 tokens for 4 slots"),
        ({"speculation": ["draft-simple", "ngram-mod"], "args": ["-b", "64"]}, "63 tokens is the most"),
        ({"speculation": {"mode": "ngram-simple", "size_m": 64}, "args": ["--batch-size", "64"]}, "batch of 64"),
        ({"speculation": "ngram-mod", "args": ["-b", "64", "-b", "128"]}, ""),
        ({"speculation": "none", "args": ["-b", "4"], "parallel": 8}, ""),
    ],
)
def test_drafts_that_outgrow_the_batch_are_refused_at_load(fields: dict[str, Any], words: str) -> None:
    """b11434 aborts as soon as every slot has a draft: GGML_ASSERT(add_ok && "batch must be large enough ...")."""
    whole = {"target": FILES, "draft": FILES} | fields
    if words:
        with pytest.raises(ValidationError, match=words):
            LocalEntry.model_validate(whole)
    else:
        assert LocalEntry.model_validate(whole).chain is not None
