"""What an answer becomes on its way to a client whose request was amended."""

from __future__ import annotations

import json
import math
from array import array
from base64 import b64decode, b64encode
from typing import Any

import pytest

from app.errors import InvalidBodyError
from app.relay.amendments.amend import amended
from app.relay.amendments.answer import AmendedAnswer
from app.relay.request.body import routing
from tests.support.paths import DATA

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DONE = b"data: [DONE]\n\n"


def answer_to(path: str, **request: Any) -> AmendedAnswer:
    body = json.dumps(request).encode()
    found = amended(path, body, routing(body), "r-1", ours=True)
    assert found is not None and found.answer is not None
    return found.answer


def streamed(answer: AmendedAnswer, stream: bytes, step: int = 0) -> bytes:
    step = step or len(stream)
    return b"".join([*(answer.feed(stream[at : at + step]) for at in range(0, len(stream), step)), answer.end()])


def events(stream: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in stream.split(b"\n\n") if line.startswith(b"data: {")]


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


SEVERAL = {
    "chat-n2": (CHAT, {"messages": [1], "n": 2}, 20, 16),
    "completion-prompts": (COMPLETIONS, {"prompt": ["a", "b"]}, 5, 16),
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("step", [0, 1, 7, 100])
def test_a_stream_of_several_choices_tells_the_usage_of_all_once(name: str, step: int) -> None:
    """As b11434 sent it, cut anywhere: every other event stays, and `data: null` goes."""
    path, request, prompt, completion = SEVERAL[name]
    stream = (DATA / "streams" / f"{name}.sse").read_bytes()
    answer = answer_to(path, **request)
    sent = streamed(answer, stream, step)
    usages = [event["usage"] for event in events(sent) if "usage" in event]
    assert [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in usages] == [(prompt, completion)]
    assert b"data: null" not in sent and sent.endswith(DONE)
    texts = [event["choices"] for event in events(stream) if event["choices"]]
    assert [event["choices"] for event in events(sent) if event["choices"]] == texts
    assert answer.tally is not None and (counts := answer.tally.counts()) is not None
    assert (counts.prompt_tokens, counts.completion_tokens) == (prompt, completion)


@pytest.mark.parametrize("name", SEVERAL)
def test_an_answer_in_one_piece_that_counts_the_first_choice_counts_all(name: str) -> None:
    """By log probabilities where there are some, else by the length of texts."""
    path, request, _, completion = SEVERAL[name]
    direct = json.loads((DATA / "streams" / f"{name}.json").read_text())
    usage = json.loads(answer_to(path, **request).whole(json.dumps(direct).encode()))["usage"]
    assert abs(usage["completion_tokens"] - completion) <= 2
    direct["choices"][1]["logprobs"] = {"content": [{}] * 5}
    usage = json.loads(answer_to(path, **request).whole(json.dumps(direct).encode()))["usage"]
    assert usage["completion_tokens"] == 8 + 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_others_count_for_themselves() -> None:
    """What has no timings is no llama-server."""
    stream = event(choices=[], usage={"completion_tokens": 9}) + DONE
    answer = answer_to(CHAT, messages=[1], n=2)
    assert events(streamed(answer, stream)) == [{"choices": [], "usage": {"completion_tokens": 9}}]
    assert answer.tally is not None and answer.tally.counts() is None
    whole = b'{"choices":[{},{}],"usage":{"completion_tokens":9}}'
    assert answer_to(CHAT, messages=[1], n=2).whole(whole) == whole


@pytest.mark.parametrize(
    "odd", [b": waiting\n\n", b"event: error\ndata: {}\n\n", b'data: {"error":{"code":500}}\n\n', b"data: x\n\n"]
)
def test_what_is_no_event_of_a_completion_passes(odd: bytes) -> None:
    assert streamed(answer_to(CHAT, messages=[1], n=2), odd + b"data: {", 3) == odd + b"data: {"


def test_functions_are_answered_by_a_function_call() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    request = {"messages": [1], "functions": [{"name": "f"}]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [call]}}
    whole = json.loads(answer_to(CHAT, **request).whole(json.dumps({"choices": [choice]}).encode()))["choices"][0]
    assert whole["finish_reason"] == "function_call"
    assert whole["message"] == {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    deltas = [{"tool_calls": [call]}, {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}, {"content": "x"}]
    stream = b"".join(event(choices=[{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas)
    said = [told["choices"][0]["delta"] for told in events(streamed(answer_to(CHAT, **request), stream))]
    assert said == [{"function_call": call["function"]}, {"function_call": {"arguments": "}"}}, {"content": "x"}]


def test_an_echo_stands_before_each_text() -> None:
    choices = [{"index": index, "text": str(index)} for index in range(4)]
    request = {"prompt": ["a", "b"], "n": 2, "echo": True}
    whole = json.loads(answer_to(COMPLETIONS, **request).whole(json.dumps({"choices": choices}).encode()))
    assert [choice["text"] for choice in whole["choices"]] == ["a0", "a1", "b2", "b3"]
    stream = b"".join(event(choices=[choice]) for choice in (choices[3], choices[0], choices[3]))
    said = [told["choices"][0]["text"] for told in events(streamed(answer_to(COMPLETIONS, **request), stream))]
    assert said == ["b3", "a0", "3"]


def test_infill_answers_as_a_completion() -> None:
    end = {
        "content": "x",
        "stop": True,
        "stop_type": "limit",
        "tokens_evaluated": 5,
        "tokens_predicted": 2,
        "model": "m",
    }
    request = {"prompt": "a", "suffix": "b"}
    whole = json.loads(answer_to(COMPLETIONS, **request).whole(json.dumps(end).encode()))
    assert whole["choices"] == [{"text": "x", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert (whole["object"], whole["model"], whole["usage"]["total_tokens"]) == ("text_completion", "m", 7)
    stream = streamed(answer_to(COMPLETIONS, **request), event(content="p", stop=False) + event(**end))
    assert stream.endswith(DONE)
    assert [told["choices"][0]["finish_reason"] for told in events(stream)] == [None, "length"]
    assert events(stream)[-1]["usage"]["completion_tokens"] == 2


def vectors(**request: Any) -> AmendedAnswer:
    return answer_to("/v1/embeddings", input="a", **request)


def test_vectors_are_cut_and_of_length_one() -> None:
    """As numbers or as base64; those of a server that cuts them itself stay."""
    vector = [0.6, 0.0, 0.8, 0.0]
    packed = b64encode(array("f", vector).tobytes()).decode()
    rows = [{"embedding": vector, "index": 0}, {"embedding": packed, "index": 1}, {"embedding": [0.1, 0.2], "index": 2}]
    answer = json.loads(vectors(dimensions=2).whole(json.dumps({"data": rows, "usage": {"x": 1}}).encode()))
    assert answer["usage"] == {"x": 1}
    assert answer["data"][0] == {"embedding": [1.0, 0.0], "index": 0}
    assert array("f", b64decode(answer["data"][1]["embedding"])).tolist() == [1.0, 0.0]
    assert answer["data"][2]["embedding"] == [0.1, 0.2]
    three = json.loads(vectors(dimensions=3).whole(json.dumps({"data": rows[:1]}).encode()))["data"][0]["embedding"]
    assert math.isclose(math.hypot(*three), 1.0)


def test_more_numbers_than_there_are_is_a_refusal() -> None:
    with pytest.raises(InvalidBodyError, match="have only 2 numbers"):
        vectors(dimensions=3).whole(b'{"data":[{"embedding":[1,0],"index":0}]}')


CONTINUED = {"stream": True, "continue_final_message": True, "tools": [{"type": "function", "function": {"name": "f"}}]}
BEGUN = 'Sure. <tool_call>\n{"name": "f", "arguments": {"city": "Pa'


def piece(**delta: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_prefilled_call_is_whole_in_a_stream(step: int) -> None:
    """As b11434 sends it with `echo`: the text goes that the client has written, the call stays."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"city": "Paris'}}
    more = {"index": 0, "function": {"arguments": '"}'}}
    stream = b"".join(
        [
            piece(role="assistant", content=None),
            *(piece(content=text) for text in ("Su", "re. ")),
            *(piece(tool_calls=[part]) for part in (call, more)),
            event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
            DONE,
        ]
    )
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": BEGUN}]
    found = events(streamed(answer_to(CHAT, messages=messages, **CONTINUED), stream, step))
    deltas = [each["choices"][0]["delta"] for each in found]
    assert deltas == [{"role": "assistant", "content": None}, {"tool_calls": [call]}, {"tool_calls": [more]}, {}]


def test_a_prefilled_text_is_left_out_as_before() -> None:
    """And what goes on from it is not, in thoughts either."""
    last = {"role": "assistant", "content": "One", "reasoning_content": "Hm"}
    answer = answer_to(CHAT, messages=[{"role": "user", "content": "x"}, last], **CONTINUED)
    pieces = [
        piece(reasoning_content="Hm, a"),
        piece(reasoning_content="Hm"),
        piece(content="O"),
        piece(content="ne t"),
    ]
    deltas = [each["choices"][0]["delta"] for each in events(streamed(answer, b"".join(pieces)))]
    assert deltas == [{"reasoning_content": ", a"}, {"reasoning_content": "Hm"}, {"content": " t"}]
