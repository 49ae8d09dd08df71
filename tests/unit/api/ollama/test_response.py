"""llama-server's answers in Ollama's words."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.ollama.request import OllamaRequest
from app.api.ollama.response import Pieces, whole

CHAT = OllamaRequest("chat", "m", True, "/v1/chat/completions", {})
TIMINGS = {"prompt_n": 3, "cache_n": 4, "prompt_ms": 1.5, "predicted_n": 2, "predicted_ms": 2.5}


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": finish, "delta": fields}]}


def lines(request: OllamaRequest, *chunks: bytes) -> list[Any]:
    pieces = Pieces(request, time.perf_counter())
    text = b"".join(pieces.feed(chunk) for chunk in chunks) + (pieces.finish() or b"")
    return [json.loads(line) for line in text.splitlines()]


STREAM = sse(
    delta(role="assistant", content=None),
    delta(reasoning_content="hm"),
    delta(content="a"),
    delta(content="é"),
    delta("length"),
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}, "timings": TIMINGS},
)


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_cut_anywhere_gives_the_same_lines(cuts: list[int]) -> None:
    """Thinking and text apart, the counts at the end, in nanoseconds."""
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = lines(CHAT, *(STREAM[a:b] for a, b in zip(edges, edges[1:], strict=False)))  # noqa: RUF007
    assert [(line["message"].get("thinking", ""), line["message"]["content"]) for line in pieces] == [
        ("hm", ""),
        ("", "a"),
        ("", "é"),
        ("", ""),
    ]
    last = pieces[-1]
    assert [line["done"] for line in pieces] == [False, False, False, True]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("length", 7, 2)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (1_500_000, 2_500_000)
    assert last["total_duration"] > 0 and last["load_duration"] >= 0


def test_a_tool_call_comes_whole() -> None:
    """It arrives in pieces of text; arguments are an object here."""
    function = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": text}} for text in ('{"a"', ": 1}")]
    pieces = lines(CHAT, sse(*(delta(tool_calls=[part]) for part in (function, *parts)), delta("tool_calls")))
    [call] = pieces[0]["message"]["tool_calls"]
    assert call == {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}
    assert (len(pieces), pieces[-1]["done_reason"]) == (2, "stop")


def test_comments_become_empty_pieces() -> None:
    """A client waits for lines of JSON, and gives up on silence."""
    [line] = lines(CHAT, b": waiting\n\n")
    assert (line["message"]["content"], line["done"]) == ("", False)


def test_an_answer_without_an_end_has_no_last_line() -> None:
    """The door breaks the connection then."""
    pieces = Pieces(CHAT, 0)
    pieces.feed(sse(delta(content="a")))
    assert pieces.finish() is None


@pytest.mark.parametrize("data", [b"data: 5\n\n", b"data: {\n\n", b'data: {"choices": 5}\n\n', b"nonsense\n"])
def test_what_is_no_event_is_no_line(data: bytes) -> None:
    """A foreign server may send anything."""
    assert Pieces(CHAT, 0).feed(data) == b""


def test_fill_in_answers_in_the_native_form() -> None:
    """Without `choices`; `stop_type` is the reason."""
    request = OllamaRequest("generate", "m", True, "/infill", {})
    pieces = lines(request, sse({"content": "a", "stop": False}, {"content": "", "stop": True, "stop_type": "limit"}))
    assert [line["response"] for line in pieces] == ["a", ""]
    assert pieces[-1]["done_reason"] == "length"


def test_a_whole_answer() -> None:
    """One object with everything."""
    message = {"content": "a", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"x":1}'}}]}
    body = {"choices": [{"finish_reason": "stop", "message": message}], "timings": TIMINGS}
    completion = json.loads(whole(CHAT, json.dumps(body).encode(), time.perf_counter()))
    assert completion["message"]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert (completion["done"], completion["prompt_eval_count"], completion["eval_count"]) == (True, 7, 2)


def test_embeddings_old_and_new() -> None:
    """A list of vectors; the older endpoint has one."""
    body = json.dumps({"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}).encode()
    response = json.loads(whole(OllamaRequest("embed", "m", False, "", {}), body, 0))
    assert response["embeddings"] == [[1.0], [2.0]]
    assert json.loads(whole(OllamaRequest("embeddings", "m", False, "", {}), body, 0)) == {"embedding": [1.0]}
