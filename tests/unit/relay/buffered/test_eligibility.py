"""Which whole answers are asked for as streams."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.relay.buffered.choice import Aids
from app.relay.buffered.eligibility import MOST_PROBABILITIES, Streamed, as_stream

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SAID = [{"role": "user", "content": "Hello"}]
STREAMED = {"stream": True, "stream_options": {"include_usage": True}, "timings_per_token": True}


def stream_body(target: str = CHAT, *, drafts: bool = False, **fields: Any) -> dict[str, Any] | None:
    streamed = as_stream(target, json.dumps({"messages": SAID} | fields).encode(), drafts=drafts)
    return None if streamed is None else json.loads(streamed.body)


@pytest.mark.parametrize("target", [CHAT, COMPLETIONS, "/chat/completions", CHAT + "?a=b"])
@pytest.mark.parametrize("fields", [{}, {"stream": False}, {"stream": None}, {"stream_options": None}])
def test_a_stream_is_asked_for_with_its_usage(target: str, fields: dict[str, Any]) -> None:
    """And with how far each piece goes: three fields are exchanged or added."""
    assert stream_body(target, **fields) == {"messages": SAID} | STREAMED


@given(st.dictionaries(st.sampled_from(["include_usage", "x"]), st.none() | st.booleans()))
def test_a_clients_own_options_are_exchanged(options: dict[str, Any]) -> None:
    """They mean nothing to a whole answer; the usage has to come."""
    answer = stream_body(stream_options=options)
    assert answer is not None and answer["stream_options"] == {"include_usage": True}


def test_nothing_else_is_written_anew() -> None:
    """Numbers, order and white space are the client's."""
    body = (
        b'{ "seed": 1.50,\n "stream" : false, "stream_options": {"a": [1, {"stream": 2}]}, '
        b'"messages": [], "timings_per_token": null }'
    )
    assert as_stream(CHAT, body, drafts=False) == Streamed(
        b'{ "seed": 1.50,\n "stream" : true, "stream_options": {"include_usage":true}, '
        b'"messages": [], "timings_per_token": true }',
        Aids(),
    )


@pytest.mark.parametrize("target", ["/completions", "/completion", "/v1/responses", "/v1/messages", "/v1/embeddings"])
def test_other_endpoints_are_asked_as_they_are(target: str) -> None:
    """Native completions, and what is no completion."""
    assert stream_body(target) is None
    assert as_stream("/slots", None, drafts=False) is None


ASSISTANT = [*SAID, {"role": "assistant", "content": "Hello my"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"verbose": True},
        {"n_indent": 2},
        {"continue_final_message": True},
        {"messages": [*SAID, {"role": "assistant"}]},
        {"messages": [*SAID, {"role": "assistant", "content": ""}]},
        {"messages": [*SAID, {"role": "assistant", "content": [{"type": "text", "text": "Hello my"}]}]},
        {"messages": ASSISTANT, "logprobs": True},
        {"logprobs": True},
        {"n_probs": 1},
        {"timings_per_token": 1},
        {"stream_options": 5},
        {"stream_options": {"include_usage": "yes"}},
        {"messages": "no list"},
    ],
)
def test_what_a_stream_does_not_tell_in_full_is_asked_directly(fields: dict[str, Any]) -> None:
    """So is what the engine may have to refuse in its own words."""
    assert stream_body(**fields) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "ab", "max_tokens": 5},
        {"return_tokens": True, "return_progress": True, "timings_per_token": True},
        {"n": 2, "tools": [], "verbose": False, "logprobs": False},
    ],
)
def test_what_a_stream_tells_is_asked_as_one(fields: dict[str, Any]) -> None:
    """Stop words; fields that only streams know."""
    assert stream_body(**fields) is not None


@pytest.mark.parametrize("more", [{}, {"continue_final_message": True, "add_generation_prompt": False}])
def test_a_prefilled_answer_is_asked_for_with_its_beginning(more: dict[str, Any]) -> None:
    """`echo` makes a stream tell it, whether the client asked for that or not."""
    streamed = as_stream(CHAT, json.dumps({"messages": ASSISTANT, "echo": False} | more).encode(), drafts=False)
    assert streamed is not None and streamed.aids == Aids(prefill="Hello my")
    assert json.loads(streamed.body)["echo"] is True
    assert stream_body(COMPLETIONS, messages=ASSISTANT, **more) == (
        None if more else stream_body(COMPLETIONS, messages=ASSISTANT)
    )


def test_log_probabilities_of_completions() -> None:
    """Streams of completions have them all; for those of stop words and drafted tokens the tokens have to be told."""

    def aids(*, drafts: bool = False, **fields: Any) -> Aids:
        streamed = as_stream(COMPLETIONS, json.dumps(fields).encode(), drafts=drafts)
        assert streamed is not None
        assert ("verbose" in json.loads(streamed.body)) == streamed.aids.probabilities
        return streamed.aids

    assert aids(logprobs=2) == aids(n_probs=MOST_PROBABILITIES) == aids(drafts=True) == Aids()
    assert stream_body(COMPLETIONS, n_probs=MOST_PROBABILITIES + 1) is None
    assert aids(logprobs=2, stop="a") == aids(n_probs=2, drafts=True) == Aids(probabilities=True)
    assert aids(n_probs=2, stop="a", post_sampling_probs=True) == Aids(probabilities=True, post_sampling=True)
