"""Which whole answers are asked for as streams."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.relay.buffered.eligibility import MOST_PROBABILITIES, as_stream
from app.relay.request.body import Routing, routing

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SAID = [{"role": "user", "content": "Hello"}]
STREAMED = {"stream": True, "stream_options": {"include_usage": True}, "timings_per_token": True}


def stream_body(target: str = CHAT, *, drafts: bool = False, **fields: Any) -> dict[str, Any] | None:
    body = json.dumps({"messages": SAID} | fields).encode()
    streamed = as_stream(target, body, routing(body), drafts=drafts)
    return None if streamed is None else json.loads(streamed)


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
    assert as_stream(CHAT, body, routing(body), drafts=False) == (
        b'{ "seed": 1.50,\n "stream" : true, "stream_options": {"include_usage":true}, '
        b'"messages": [], "timings_per_token": true }'
    )


@pytest.mark.parametrize("target", ["/completions", "/completion", "/v1/responses", "/v1/messages", "/v1/embeddings"])
def test_other_endpoints_are_asked_as_they_are(target: str) -> None:
    """Native completions, and what is no completion."""
    assert stream_body(target) is None
    assert as_stream("/slots", None, Routing(), drafts=False) is None


ASSISTANT = [*SAID, {"role": "assistant", "content": "Hello my"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"verbose": True},
        {"n_indent": 2},
        {"continue_final_message": True},
        {"continue_final_message": "content"},
        {"messages": ASSISTANT},
        {"messages": ASSISTANT, "echo": True, "add_generation_prompt": False},
        {"messages": [*SAID, {"role": "assistant"}]},
        {"messages": [*SAID, {"role": "assistant", "content": ""}]},
        {"messages": [*SAID, {"role": "assistant", "content": [{"type": "text", "text": "Hello my"}]}]},
        {"messages": ASSISTANT, "logprobs": True},
        {"logprobs": True},
        {"top_logprobs": 2},
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
        {"n": 2, "tools": [], "verbose": False, "logprobs": False, "top_logprobs": 0, "n_probs": 0},
        {"messages": [{"role": "assistant", "content": "Hi"}, *SAID], "continue_final_message": False},
    ],
)
def test_what_a_stream_tells_is_asked_as_one(fields: dict[str, Any]) -> None:
    """Stop words; fields that only streams know."""
    assert stream_body(**fields) is not None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"logprobs": 2}, True),
        ({"logprobs": MOST_PROBABILITIES}, True),
        ({"logprobs": MOST_PROBABILITIES + 1}, False),
        ({"logprobs": 1e9}, False),
        ({"logprobs": 2, "stop": "a"}, False),
        ({"logprobs": 2, "stop": []}, True),
        ({"logprobs": 2, "drafts": True}, False),
        ({"n_probs": 2}, False),
        ({"top_logprobs": 2}, False),
        ({"stop": "a", "drafts": True}, True),
        ({"messages": ASSISTANT}, True),
        ({"messages": ASSISTANT, "continue_final_message": True}, False),
    ],
)
def test_completions_tell_log_probabilities_unless_some_are_taken_off(fields: dict[str, Any], told: bool) -> None:
    """Those of stop words only in one piece, those of drafted tokens only there. Nothing of theirs is prefilled."""
    assert (stream_body(COMPLETIONS, **fields) is not None) == told
