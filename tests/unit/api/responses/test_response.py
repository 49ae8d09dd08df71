"""Chat completions as responses: made-up answers, cut anywhere, read by openai's own types."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import NOT_GIVEN
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from app.api.responses.request import translate
from app.api.responses.response import ResponsesWriter
from app.api.translated.chat_events import read_whole
from app.api.translated.fields import Fields
from app.api.translated.opaque import unpack
from app.errors import FormatIgnoredError
from tests.support.chat_streams import CALL_NAMES, MadeUp, answers, delta, event, typed_events
from tests.support.translation import in_one_piece, streamed

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in CALL_NAMES[:2]]
CUSTOM = {"type": "custom", "name": CALL_NAMES[2]}
DONE = b"data: [DONE]\n\n"


def writer(**fields: Any) -> ResponsesWriter:
    request = translate(Fields({"input": "x", "tools": [*TOOLS, CUSTOM]} | fields), ours=False)
    return ResponsesWriter(request, "m", "resp_0", clock=lambda: 7)


def validated(stream: bytes) -> list[dict[str, Any]]:
    """Each event is what its type says, numbered without a gap, in the order of the specification."""
    events = []
    for number, (name, data) in enumerate(typed_events(stream)):
        assert (name, number) == (data["type"], data["sequence_number"])
        read = EVENT.validate_python(data)
        assert type(read).__name__ != "Response" and read.type == name
        events.append(data)
    return events


def checked_order(events: list[dict[str, Any]]) -> None:
    """Items and their parts open before they grow, and close before the next one opens."""
    assert [data["type"] for data in events[:2]] == ["response.created", "response.in_progress"]
    for data in events[:2]:
        assert (data["response"]["output"], data["response"]["status"]) == ([], "in_progress")
    open_item: Any = None
    for data in events[2:-1]:
        if data["type"] == "response.output_item.added":
            assert open_item is None
            open_item = data["item"]["id"]
        elif data["type"] == "response.output_item.done":
            assert open_item == data["item"]["id"]
            open_item = None
        else:
            assert data["item_id"] == open_item
    assert open_item is None


def said_of(response: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]]]:
    """Thoughts, text and calls."""
    thoughts, text, calls = "", "", []
    for item in response["output"]:
        if item["type"] == "reasoning":
            thoughts += "".join(part["text"] for part in [*item["summary"], *item.get("content", ())])
        elif item["type"] == "message":
            text += "".join(part["text"] for part in item["content"])
        elif item["type"] == "custom_tool_call":
            calls.append((item["name"], item["input"]))
        else:
            calls.append((item["name"], item["arguments"]))
    return thoughts, text, calls


@given(made=answers(), cut=st.integers(1, 60), summary=st.sampled_from((None, "auto")))
def test_the_sdk_reads_every_stream(made: MadeUp, cut: int, summary: str | None) -> None:
    """Its accumulation too; the end is the same as the answer in one piece."""
    fields = {"reasoning": {"summary": summary}}
    stream = streamed(writer(**fields), made.stream, cut)
    events = validated(stream)
    checked_order(events)
    state: Any = ResponseStreamState(text_format=NOT_GIVEN, input_tools=NOT_GIVEN)
    for data in events:
        state.handle_event(EVENT.validate_python(data))
    last = events[-1]
    status = "incomplete" if made.finish in ("length", "content_filter") else "completed"
    assert last["type"] == f"response.{status}"
    calls = [
        (name, json.loads(arguments).get("input", arguments) if name == CUSTOM["name"] else arguments)
        for name, arguments in made.calls
    ]
    assert said_of(last["response"]) == (made.thoughts, made.text, calls)
    whole = in_one_piece(writer(**fields), made.whole)
    Response.model_validate(whole)
    assert last["response"] == whole
    assert whole["usage"]["input_tokens"] == made.usage["prompt_tokens"]
    assert whole["usage"]["total_tokens"] == made.usage["total_tokens"]
    deltas = "".join(data["delta"] for data in events if data["type"] == "response.output_text.delta")
    assert deltas == made.text


def test_every_byte_is_a_place_to_cut() -> None:
    """The client gets the same bytes, however the upstream's come."""
    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"a": "é"}'}}
    upstream = delta(reasoning_content="Hm é") + delta(content="Hé 🙂") + delta(tool_calls=[call])
    upstream += delta(finish="tool_calls") + DONE
    expected = streamed(writer(), upstream)
    for cut in range(1, len(upstream)):
        assert streamed(writer(), upstream, cut) == expected


def test_a_limit_makes_it_incomplete() -> None:
    """With its reason, and the item that was cut is not complete."""
    whole = {"choices": [{"message": {"content": "Once"}, "finish_reason": "length"}]}
    answer = in_one_piece(writer(), whole)
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["output"][0]["status"] == "incomplete"


def test_thoughts_are_packed_for_who_asks() -> None:
    """They are content unless a summary is asked for."""
    whole = {"choices": [{"message": {"content": "Hi", "reasoning_content": "Hm"}, "finish_reason": "stop"}]}
    thought = in_one_piece(writer(include=["reasoning.encrypted_content"]), whole)["output"][0]
    assert (thought["summary"], thought["content"][0]["text"]) == ([], "Hm")
    assert unpack(thought["encrypted_content"]) == "Hm"
    thought = in_one_piece(writer(reasoning={"summary": "auto"}), whole)["output"][0]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert "encrypted_content" not in thought


@pytest.mark.parametrize("echoes", [True, False])
@pytest.mark.parametrize("cut", [4096, 1, 3])
def test_a_message_that_is_gone_on_from_is_no_part_of_the_output(echoes: bool, cut: int) -> None:
    """Engines repeat it or not, in a stream and in one piece."""
    begun = {"input": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "One two"}]}
    text = ("One two" if echoes else "") + " three"
    upstream = b"".join(delta(content=piece) for piece in text) + delta(finish="stop") + DONE
    events = validated(streamed(writer(**begun), upstream, cut))
    whole = in_one_piece(writer(**begun), {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
    for response in (events[-1]["response"], whole):
        assert said_of(response)[1] == " three"


def test_refusals_have_their_own_part() -> None:
    """vLLM's and OpenAI's chat completions tell them so."""
    events = validated(streamed(writer(), delta(refusal="No") + delta(refusal=".") + delta(finish="stop") + DONE))
    assert "response.refusal.done" in [data["type"] for data in events]
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_log_probabilities() -> None:
    """Of each piece, and of the whole text."""
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    choice = {"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [token]}, "finish_reason": None}
    stream = event([choice]) + delta(finish="stop") + DONE
    events = validated(streamed(writer(include=["message.output_text.logprobs"]), stream))
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [token]


def test_a_namespace_is_told_apart_again() -> None:
    """The engine knows one name, the client two."""
    space = {"type": "namespace", "name": "files", "description": "d", "tools": [TOOLS[0]]}
    call = {"id": "c", "function": {"name": "files__weather", "arguments": "{}"}}
    whole = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    [item] = in_one_piece(writer(tools=[space]), whole)["output"]
    assert (item["name"], item["namespace"], item["call_id"]) == ("weather", "files", "c")


def test_arguments_may_come_as_an_object() -> None:
    """As some servers send them, against OpenAI's words."""
    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    stream = delta(tool_calls=[call]) + delta(finish="tool_calls") + DONE
    [item] = validated(streamed(writer(), stream))[-1]["response"]["output"]
    assert item["arguments"] == '{"city":"Paris"}'


def test_a_model_that_says_nothing_has_answered() -> None:
    """One message without text."""
    [item] = validated(streamed(writer(), delta(finish="stop") + DONE))[-1]["response"]["output"]
    assert (item["type"], item["content"][0]["text"]) == ("message", "")


def test_a_failure_is_told_twice() -> None:
    """As the failed response, and as the error that SDKs raise."""
    error = b'event: error\ndata: {"type":"error","code":"500","message":"x","param":null,"error":{"message":"x"}}\n\n'
    events = validated(streamed(writer(), delta(content="Hi") + error))
    failed, last = events[-2:]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "x"}
    assert failed["response"]["output"][0]["status"] == "incomplete"
    assert (last["type"], last["message"], last["code"]) == ("error", "x", "500")


def test_an_engine_that_ignores_the_format_is_found_out() -> None:
    """Prose where JSON was asked for is a failure."""
    whole = {"choices": [{"message": {"content": "Sure!"}, "finish_reason": "stop"}]}
    event_ = read_whole(json.dumps(whole).encode())
    with pytest.raises(FormatIgnoredError, match=r"text\.format"):
        writer(text={"format": {"type": "json_object"}}).whole(event_)


def test_llama_servers_own_fields_are_told_where_they_are_asked_for() -> None:
    """Progress of the prompt and timings of tokens; nobody else gets them."""
    progress = {"total": 9, "cache": 0, "processed": 4, "time_ms": 1}
    timed = [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]
    stream = event([{"index": 0, "delta": {"role": "assistant"}}], prompt_progress=progress)
    stream += event(timed, timings={"predicted_n": 1}) + delta(finish="stop") + DONE
    asked = validated(streamed(writer(return_progress=True, timings_per_token=True), stream))
    assert [data["prompt_progress"] for data in asked if "prompt_progress" in data] == [progress]
    assert [data["timings"]["predicted_n"] for data in asked if data["type"].endswith(".delta")] == [1]
    plain = validated(streamed(writer(), stream))
    assert not any("prompt_progress" in data for data in plain)
    assert not any("timings" in data for data in plain[:-1])
