"""What streams and bodies cost is linear in their bytes, however they are cut and whatever they hold.

`check_linear` doubles the input and counts calls and bytes of memory; no clock is involved.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.api.messages.request import MessagesRequest
from app.api.messages.response import MessageWriter
from app.api.ollama.request import OllamaRequest
from app.api.ollama.request import translate as ollama
from app.api.ollama.response import Pieces
from app.api.responses.request import translate as responses
from app.api.responses.response import ResponsesWriter
from app.api.translated.answer import AnswerWriter
from app.api.translated.chat_events import ChatEvent, ChatReader
from app.api.translated.fields import Fields
from app.api.translated.tools import only
from app.config.request_filters import Filters
from app.errors import InvalidBodyError
from app.relay.amendments.answer import ChangedAnswer, Counted, LegacyCalls
from app.relay.amendments.messages import mended_messages
from app.relay.amendments.patterns import ignored_patterns
from app.relay.amendments.sums import ChoiceCounts
from app.relay.amendments.tools import chosen
from app.relay.buffered.assembler import Assembly
from app.relay.captures import AnswerCapture
from app.relay.request import multipart
from app.relay.request.body import routing
from app.relay.request.filters import Filter
from app.relay.request.json_edit import edited, fields_of
from app.relay.request.json_text import readable
from app.relay.request.media import find
from app.relay.response.stream_errors import ErrorEventFilter, suspicious
from app.relay.response.usage import CapturingTap, UsageTap
from app.relay.sse_lines import LineSplitter
from tests.support.steps import check_linear

Feed = Callable[[Any], object]


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": fields}])


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


# -- streams: by name, a function of a size ---------------------------------------------------------------------

TEXT = delta(content="token")
CALL = '{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}'
STREAMS: dict[str, Callable[[int], list[bytes]]] = {
    "an event a chunk": lambda n: [TEXT] * n,
    "many events a chunk": lambda n: cut(TEXT * n, 5000),
    "a byte a chunk": lambda n: cut(TEXT * (1 + n // len(TEXT)), 1),
    "cut within each mark": lambda n: cut(TEXT * n, len(TEXT) - 1),
    "one byte for ever": lambda n: [b"x"] * n,
    "line feeds": lambda n: [b"\n"] * n,
    "carriage returns": lambda n: [b"\r"] * n,
    "one line in small chunks": lambda n: cut(delta(content="x" * (4 * n)), 4),
    "escapes in small chunks": lambda n: cut(delta(content='"\\\n' * n), 3),
    "an event of many lines": lambda n: [b"data: 1\n"] * n,
    "an error in small chunks": lambda n: cut(event(error={"message": "x" * (4 * n)}), 4),
    "beginnings of errors": lambda n: [b'data: {"err'] * n,
    "the word error": lambda n: [delta(content="error")] * n,
    "comments": lambda n: [b": ping\n\n"] * n,
    "blanks before a thought": lambda n: [delta(content=" ")] * n,
    "a thought in pieces": lambda n: [delta(content="<think>"), *[delta(content="</thin")] * n],
    "reasoning": lambda n: [delta(reasoning_content="hm")] * n,
    "arguments in pieces": lambda n: [
        delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "'}}]),
        *[delta(tool_calls=[{"index": 0, "function": {"arguments": "{x}"}}])] * n,
    ],
    "text within a call": lambda n: [
        delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "'}}]),
        *[
            delta(content="x", tool_calls=[{"index": 0, "function": {"arguments": "yy"}}]),
        ]
        * n,
    ],
    "two calls by turns": lambda n: (
        [delta(tool_calls=[{"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": "["}}]) for i in (0, 1)]
        + [delta(tool_calls=[{"index": i % 2, "function": {"arguments": "1,"}}]) for i in range(n)]
    ),
    "many calls": lambda n: [
        delta(tool_calls=[{"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": "{}"}}]) for i in range(n)
    ],
    "many calls of one number": lambda n: [
        delta(tool_calls=[{"index": 0, "id": f"c{i}", "function": {"name": "f", "arguments": "{}"}}]) for i in range(n)
    ],
    "calls that never end": lambda n: [
        delta(tool_calls=[{"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": "{"}}]) for i in range(n)
    ],
    "usage in each event": lambda n: [
        event(
            choices=[{"index": i, "delta": {}, "finish_reason": "stop"}],
            usage={"completion_tokens": 1, "prompt_tokens": 2},
            timings={"predicted_n": 1},
        )
        for i in range(n)
    ],
    "nested brackets": lambda n: cut(b"data: " + b"[" * n, 16),
}


def lines() -> Feed:
    return LineSplitter().feed


def error_filter() -> Feed:
    """As the relay uses it, with the last bytes that it has sent."""
    found, tap = ErrorEventFilter(), UsageTap()

    def feed(chunk: bytes) -> None:
        if found.holding or suspicious(chunk):
            chunk = found.pass_on(chunk, before=tap.last_bytes)
        tap.feed(chunk)
        assert found.error is None or len(found.held_back) > 0

    return feed


def tap() -> Feed:
    """With what the keepalive and the page ask of it now and then."""
    usage_tap = UsageTap()

    def feed(chunk: bytes) -> None:
        usage_tap.feed(chunk)
        _ = (usage_tap.between_events, usage_tap.size)

    return feed


def capturing() -> Feed:
    return CapturingTap(AnswerCapture(), streamed=True).feed


def assembly() -> Feed:
    return Assembly().feed


def amended() -> Feed:
    tally = ChoiceCounts(1)
    return ChangedAnswer([Counted(tally, 1, []), LegacyCalls()], tally).feed


def ollama_pieces() -> Feed:
    return Pieces(OllamaRequest("chat", "m", True, "", {}), 0.0).feed


def translated(writer: AnswerWriter) -> Feed:
    reader = ChatReader()

    def feed(chunk: bytes) -> None:
        for part in reader.feed(chunk):
            if isinstance(part, ChatEvent):
                writer.event(part)

    return feed


def messages_writer() -> Feed:
    return translated(MessageWriter(MessagesRequest({}), "m", "msg_0"))


def responses_writer() -> Feed:
    request = responses(Fields({"model": "m", "input": "x"}), ours=True)
    return translated(ResponsesWriter(request, "m", "resp_0", clock=lambda: 7))


READERS = (
    *(lines, error_filter, tap, capturing, assembly, amended, ollama_pieces),
    *(messages_writer, responses_writer),
)


@pytest.mark.parametrize("shape", STREAMS)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_a_stream_costs_its_bytes(reader: Callable[[], Feed], shape: str) -> None:
    check_linear(reader, STREAMS[shape], 400)


def test_a_prefilled_answer_that_comes_back_in_pieces_costs_its_bytes() -> None:
    def reader() -> Feed:
        return translated(MessageWriter(MessagesRequest({}, prefill="x" * 4000), "m", "msg_0"))

    check_linear(reader, lambda n: [delta(content="x")] * n, 1500)


# -- bodies: the whole is one piece ----------------------------------------------------------------------------


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


def called(i: int) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "function_call": {"name": f"f{i}", "arguments": ""}}


def answered(i: int) -> dict[str, Any]:
    return {"role": "function", "name": f"f{i}", "content": "x"}


def conversation(n: int) -> list[dict[str, Any]]:
    """Calls of 2023, whose answers come in the other order."""
    return [called(i) for i in range(n)] + [answered(i) for i in reversed(range(n))]


def ollama_conversation(n: int) -> bytes:
    calls = [{"role": "assistant", "tool_calls": [{"function": {"name": f"f{i}", "arguments": {}}}]} for i in range(n)]
    results = [{"role": "tool", "tool_name": f"f{i}", "content": "x"} for i in reversed(range(n // 2))]
    return body(messages=calls + results + [{"role": "tool", "content": "x"}] * (n // 2))


def form(n: int, head: bytes = b"", model: int = 1) -> bytes:
    part = b'--B\r\n%sContent-Disposition: form-data; name="%s"\r\n\r\nx\r\n'
    parts = [part % (head, b"model" if i < model else b"f%d" % i) for i in range(n)]
    return b"".join(parts) + b"--B--\r\n"


def schema(n: int) -> dict[str, Any]:
    """Many short keys below a long one: a place that is written out for each would be quadratic."""
    children = {f"k{i}": {"type": "string", "pattern": "^a$"} for i in range(n)}
    return {"properties": {"x" * (20 * n): {"properties": children}}}


def reasoning(n: int) -> Fields:
    thoughts = [{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}], "summary": []}] * n
    said = {"role": "assistant", "content": "x"}
    return Fields({"model": "m", "input": [*thoughts, said]})


def systems(n: int) -> Fields:
    said = [{"role": role, "content": "x"} for role in ["system"] * n + ["user"]]
    return Fields({"model": "m", "input": said})


def tool(i: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{i}"}}


def allowed(n: int) -> dict[str, Any]:
    return {"type": "allowed_tools", "tools": [tool(i) for i in range(n)]}


def refused(document: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        routing(document)


FILTER = Filter(Filters(drop=("a",), fixed={"b": 1}, defaults={"c": 2}, max_tokens=5))
WORK: dict[str, tuple[Callable[[Any], object], Callable[[int], Any], int]] = {
    "routing, deep": (refused, lambda n: b"[" * n, 4000),
    "routing, wide": (routing, lambda n: body(messages=[{}] * n), 4000),
    "text, escapes": (readable, lambda n: b'{"a":"' + rb"\n\u00e9" * n + b'"}', 4000),
    "text, halves": (readable, lambda n: b'{"a":"' + rb"\ud800" * n + b'"}', 4000),
    "text, backslashes": (readable, lambda n: b'{"a":"' + b"\\" * (2 * n) + rb"\ud800" + b'"}', 20_000),
    "text, other letters": (readable, lambda n: ("é" * n).encode(), 20_000),
    "fields": (fields_of, lambda n: body(**{f"k{i}": 1 for i in range(n)}), 450),
    "edit, one field many times": (
        lambda b: edited(b, {"a": b"123"}, {"b"}),
        lambda n: b'{"x":"' + b"x" * (1000 * n) + b'"' + b',"a":1,"b":2' * n + b"}",
        200,
    ),
    "filters": (lambda b: FILTER.apply("/v1/completions", b, routing(b)), lambda n: body(b=1, z="x" * 50 * n), 4000),
    "form, parts": (lambda b: multipart.routing(b, b"B"), form, 450),
    "form, many models": (lambda b: multipart.with_model(b, b"B", "name"), lambda n: form(n, model=n), 450),
    "media": (
        lambda b: find(routing(b).messages),
        lambda n: body(messages=[{"content": [{"type": "image_url", "image_url": {"url": "http:x"}}] * n}]),
        1000,
    ),
    "calls of 2023": (mended_messages, lambda n: json.dumps(conversation(n)).encode(), 400),
    "allowed tools": (lambda n: chosen([tool(i) for i in range(n)], allowed(n)), lambda n: n, 400),
    "named tools": (lambda n: only([tool(i) for i in range(n)], [f"f{i}" for i in range(n)], ""), lambda n: n, 400),
    "patterns": (lambda s: list(ignored_patterns(s, "tools")), schema, 400),
    "Ollama's calls": (lambda b: ollama("/api/chat", b), ollama_conversation, 400),
    "thoughts of a turn": (lambda fields: responses(fields, ours=True), reasoning, 400),
    "system messages": (lambda fields: responses(fields, ours=True), systems, 400),
}


@pytest.mark.parametrize("name", WORK)
def test_a_body_costs_its_bytes(name: str) -> None:
    work, make, size = WORK[name]
    check_linear(lambda: work, lambda n: [make(n)], size)
