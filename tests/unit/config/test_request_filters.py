"""An entry's `request:` as written: what is taken, and what is refused at load."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.config.request_filters import Filters

ALL = {"defaults": {"temperature": 0.7, "stop": ["a"]}, "max_tokens": 4096, "fixed": {"seed": 1}, "drop": ["top_k"]}


def test_every_kind_of_filter_is_taken() -> None:
    """Values are what JSON can hold, nested ones too; without a word nothing is changed."""
    filters = Filters.model_validate(ALL | {"fixed": {"chat_template_kwargs": {"enable_thinking": False}}})
    assert filters.drop == ("top_k",) and filters.max_tokens == 4096
    assert Filters() == Filters.model_validate({})


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"defaults": {"model": "x"}}, "defaults: model is not to be changed: an entry's name is what it is asked by"),
        ({"fixed": {"stream": True}}, "fixed: stream is not to be changed"),
        ({"drop": ["stream"]}, "drop: stream is not to be changed"),
        ({"defaults": {"n_predict": 5}}, "defaults: write max_tokens for n_predict; each API gets it by its own name"),
        ({"drop": ["max_completion_tokens"]}, "drop: write max_tokens"),
        ({"defaults": {"a": 1}, "fixed": {"a": 1}}, "a is set in both `defaults` and `fixed`; remove one of them"),
        ({"fixed": {"a": 1}, "drop": ["a"]}, "a is set in both `fixed` and `drop`"),
        ({"defaults": {"max_tokens": 9}, "max_tokens": 8}, "defaults.max_tokens: 9 is above the cap, max_tokens: 8"),
        ({"fixed": {"max_tokens": 9}, "max_tokens": 8}, "fixed.max_tokens: 9 is above the cap"),
        ({"fixed": {"max_tokens": "9"}}, "fixed.max_tokens: must be a whole number from 1 on, not '9'"),
        ({"defaults": {"max_tokens": True}}, "defaults.max_tokens: must be a whole number"),
        ({"defaults": {"max_tokens": -1}}, "defaults.max_tokens: must be a whole number from 1 on, not -1"),
        ({"defaults": {"t": float("inf")}}, "defaults.t: inf cannot be sent as JSON"),
        ({"fixed": {"a": [{"b": {1, 2}}]}}, "cannot be sent as JSON; put it in quotes"),
        ({"fixed": {"a": {5: "b"}}}, "cannot be sent as JSON"),
    ],
)
def test_what_cannot_work_is_refused_in_words(written: dict[str, Any], words: str) -> None:
    """At load, not at the first request."""
    with pytest.raises(ValidationError) as caught:
        Filters.model_validate(written)
    assert words in str(caught.value)
