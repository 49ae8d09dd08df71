"""Streams that real engines sent, cut once at every byte: clients get the same, and their SDKs' types take it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from app.api.messages import request as messages_request
from app.api.messages.response import MessageWriter
from app.api.responses import request as responses_request
from app.api.responses.response import ResponsesWriter
from app.api.translated.answer import AnswerWriter
from app.api.translated.chat_events import DONE, ChatEvent, ChatReader
from app.api.translated.fields import Fields
from app.relay.amendments.answer import ChangedAnswer, Counted, LegacyCalls
from app.relay.amendments.sums import ChoiceCounts
from tests.support.chat_streams import typed_events
from tests.support.paths import DATA

SAID = [{"role": "user", "content": "x"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


def recorded() -> dict[str, bytes]:
    """Chat completions that came to their end, by name."""
    found = {f"{path.parent.name}-{path.stem}": path.read_bytes() for path in DATA.glob("streams*/*.sse")}
    for path in (DATA / "golden").glob("stream-*.json"):
        found[path.stem] = json.loads(path.read_text())["upstream"]["body"].encode()
    # As some attached servers end their lines
    found |= {
        f"{name}-crlf": stream.replace(b"\n", b"\r\n") for name, stream in found.items() if name.startswith("stream-")
    }
    return {name: stream for name, stream in found.items() if b'"delta"' in stream and b"[DONE]" in stream}


STREAMS = recorded()


def of_responses() -> AnswerWriter:
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER}
    fields = Fields({"model": "m", "input": "x", "tools": [tool], "reasoning": {"summary": "auto"}})
    return ResponsesWriter(responses_request.translate(fields, ours=True), "m", "resp_0", clock=lambda: 7)


def of_messages() -> AnswerWriter:
    tool = {"name": "get_weather", "input_schema": WEATHER}
    fields = Fields({"model": "m", "max_tokens": 99, "messages": SAID, "tools": [tool]})
    return MessageWriter(messages_request.translate(fields, ours=True), "m", "msg_0")


def told(writer: AnswerWriter, *chunks: bytes) -> bytes:
    """All that the client gets."""
    reader, out = ChatReader(), [writer.begin()]
    for chunk in chunks:
        for part in reader.feed(chunk):
            if isinstance(part, ChatEvent):
                out.append(writer.event(part))
            elif part is DONE:
                out.append(writer.finish())
    return b"".join(out)


def halves(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    return ((stream[:at], stream[at:]) for at in range(1, len(stream)))


def taken(kind: TypeAdapter[Any], data: dict[str, Any]) -> None:
    """A type of this event's own takes it, and knows all of its fields but ours, and a `name` of the SDK's 2.x."""
    event = kind.validate_python(data)
    assert isinstance(event, BaseModel) and event.type == data["type"]  # type: ignore[attr-defined]
    assert set(event.model_extra or ()) <= {"timings", "name"}


@pytest.mark.parametrize("name", sorted(STREAMS))
@pytest.mark.parametrize(
    ("make", "kind"),
    [(of_responses, TypeAdapter(ResponseStreamEvent)), (of_messages, TypeAdapter(RawMessageStreamEvent))],
    ids=["responses", "messages"],
)
def test_a_translated_stream(name: str, make: Callable[[], AnswerWriter], kind: TypeAdapter[Any]) -> None:
    """Numbers, times and texts are the same, wherever the upstream's bytes were cut."""
    whole = told(make(), STREAMS[name])
    for event_name, data in typed_events(whole):
        assert event_name == data["type"]
        if event_name != "ping":
            taken(kind, data)
    for pieces in halves(STREAMS[name]):
        assert told(make(), *pieces) == whole


@pytest.mark.parametrize("name", sorted(name for name in STREAMS if not name.startswith("stream-")))
def test_an_amended_stream(name: str) -> None:
    """The same of a chat completion whose events are changed on their way."""

    def changed(*chunks: bytes) -> bytes:
        tally = ChoiceCounts(2)
        answer = ChangedAnswer([LegacyCalls(), Counted(tally, 2, [])], tally, 2)
        return b"".join([*map(answer.feed, chunks), answer.end()])

    whole = changed(STREAMS[name])
    events = [line[6:] for line in whole.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data: ")]
    assert events[-1] == b"[DONE]"
    for event in events[:-1]:
        ChatCompletionChunk.model_validate_json(event)
    for pieces in halves(STREAMS[name]):
        assert changed(*pieces) == whole
