"""Chat completions as Anthropic's messages: made-up answers, cut anywhere, read by anthropic's own types."""

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.api.messages.request import MessagesRequest
from app.api.messages.response import MessageWriter
from app.api.translated.opaque import unpack
from app.errors import FormatIgnoredError
from tests.support.chat_streams import MadeUp, answers, delta, event, typed_events
from tests.support.translation import in_one_piece, streamed

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
DONE = b"data: [DONE]\n\n"


def writer(**request: Any) -> MessageWriter:
    return MessageWriter(MessagesRequest({}, **request), "m", "msg_1")


def accumulated(stream: bytes) -> Any:
    """The message that the SDK makes of the events, each of which its types take."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for name, data in typed_events(stream):
        assert name == data["type"]
        if name != "ping":
            event = EVENT.validate_python(data)
            message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    return message


@given(made=answers(), cut=st.integers(1, 60))
def test_the_sdk_reads_every_stream(made: MadeUp, cut: int) -> None:
    """Blocks one after the other, from `message_start` to `message_stop`; the same answer as in one piece."""
    stream = streamed(writer(), made.stream, cut)
    events = [(name, data) for name, data in typed_events(stream) if name != "ping"]
    assert (events[0][0], events[-1][0]) == ("message_start", "message_stop")
    open_block = None
    for name, data in events:
        if name == "content_block_start":
            assert open_block is None
            open_block = data["index"]
        elif name in ("content_block_delta", "content_block_stop"):
            assert data["index"] == open_block
            open_block = None if name == "content_block_stop" else open_block
    message = accumulated(stream)
    whole = in_one_piece(writer(), made.whole)
    Message.model_validate(whole)
    assert [block.type for block in message.content] == [block["type"] for block in whole["content"]]
    assert "".join(block.thinking for block in message.content if block.type == "thinking") == made.thoughts
    assert "".join(block.text for block in message.content if block.type == "text") == made.text
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [(name, json.loads(arguments)) for name, arguments in made.calls]
    assert calls == [(b["name"], b["input"]) for b in whole["content"] if b["type"] == "tool_use"]
    assert message.stop_reason == whole["stop_reason"]
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == made.usage["prompt_tokens"]
    assert usage.output_tokens == whole["usage"]["output_tokens"] == made.usage["completion_tokens"]


def test_every_byte_is_a_place_to_cut() -> None:
    """The client gets the same bytes, however the upstream's come."""
    upstream = (
        delta(role="assistant", content=None)
        + delta(reasoning_content="Hm é")
        + delta(content="Hé 🙂")
        + delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "é"}'}}])
        + delta(finish="tool_calls")
        + DONE
    )
    expected = streamed(writer(), upstream)
    for cut in range(1, len(upstream)):
        assert streamed(writer(), upstream, cut) == expected


@pytest.mark.parametrize(
    ("finish", "request_", "more", "expected"),
    [
        ("stop", {}, {}, ("end_turn", None)),
        ("length", {"max_tokens": 3}, {}, ("max_tokens", None)),
        ("stop", {"stop_sequences": ("e", " a")}, {"__verbose": {"stopping_word": " a"}}, ("stop_sequence", " a")),
        ("stop", {"stop_sequences": ("e",)}, {"__verbose": {"stopping_word": ""}}, ("end_turn", None)),
        ("content_filter", {}, {}, ("refusal", None)),
    ],
)
def test_stop_reasons(finish: str, request_: Any, more: Any, expected: tuple[str, str | None]) -> None:
    """Whole and streamed; the word that ended the answer is told."""
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    stream = delta(content="Hi") + event([{"index": 0, "delta": {}, "finish_reason": finish}], **more)
    message = accumulated(streamed(writer(**request_), stream + event([], usage=usage) + DONE))
    assert (message.stop_reason, message.stop_sequence) == expected
    whole = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": finish}], "usage": usage}
    answer = in_one_piece(writer(**request_), whole | more)
    assert (answer["stop_reason"], answer["stop_sequence"]) == expected


def test_the_stop_word_of_vllm() -> None:
    """It stands beside `finish_reason`."""
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop", "stop_reason": "e"}
    answer = in_one_piece(writer(stop_sequences=("e",)), {"choices": [choice]})
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "e")


@pytest.mark.parametrize(
    ("tokens", "certain", "reason"),
    [(3, True, "model_context_window_exceeded"), (8, True, "max_tokens"), (3, False, "max_tokens")],
)
def test_a_full_context_is_no_limit_of_the_clients(tokens: int, certain: bool, reason: str) -> None:
    """Unless the entry may have lowered it."""
    made = MessageWriter(MessagesRequest({}, max_tokens=8), "m", "msg_1", limit_is_ours=certain)
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "length"}
    answer = in_one_piece(made, {"choices": [choice], "usage": {"completion_tokens": tokens}})
    assert answer["stop_reason"] == reason


@pytest.mark.parametrize("echoes", [True, False])
@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_a_prefilled_beginning_is_no_part_of_the_answer(echoes: bool, cut: int) -> None:
    """Whether the engine repeats it or not."""
    text = ("One two" if echoes else "") + " three"
    stream = b"".join(delta(content=text[at : at + cut]) for at in range(0, len(text), cut)) + delta(finish="stop")
    assert accumulated(streamed(writer(prefill="One two"), stream + DONE)).content[0].text == " three"
    whole = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    assert in_one_piece(writer(prefill="One two"), whole)["content"][0]["text"] == " three"


def test_an_answer_that_is_shorter_than_the_beginning() -> None:
    """It is told all the same."""
    stream = delta(content="One") + delta(finish="stop") + DONE
    assert accumulated(streamed(writer(prefill="One two"), stream)).content[0].text == "One"


def test_thoughts_that_are_not_shown_come_back_in_their_signature() -> None:
    """`display: omitted`: their text is empty, and not lost."""
    stream = delta(reasoning_content="Hm") + delta(reasoning_content="m") + delta(content="Hi") + delta(finish="stop")
    thinking, _ = accumulated(streamed(writer(shows_thoughts=False), stream + DONE)).content
    assert (thinking.thinking, unpack(thinking.signature)) == ("", "Hmm")


def test_an_engine_that_ignores_the_format_is_found_out() -> None:
    """Prose where a schema was asked for is a failure; a cut answer is none."""
    whole = {"choices": [{"message": {"content": "Sure! {"}, "finish_reason": "stop"}]}
    with pytest.raises(FormatIgnoredError, match=r"output_config\.format"):
        writer(json_only=True).whole(in_event(whole))
    whole["choices"][0]["finish_reason"] = "length"
    assert in_one_piece(writer(json_only=True), whole)["stop_reason"] == "max_tokens"


def in_event(completion: dict[str, Any]) -> Any:
    from app.api.translated.chat_events import read_whole

    return read_whole(json.dumps(completion).encode())


def test_pings_before_and_after_the_beginning() -> None:
    """A comment until `message_start` has gone, then `ping`."""
    made = writer()
    assert made.comment().startswith(b":")
    streamed(made, delta(content="Hi"))
    assert made.comment() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_errors_are_the_last_event() -> None:
    """In the words that the relay gives."""
    error = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n'
    assert streamed(writer(), delta(content="Hi") + error).endswith(error)
