"""Chat completions as engines send them, made up: any pieces, in any order that a server may choose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

CALL_NAMES = ("weather", "time", "apply")


@dataclass(frozen=True)
class MadeUp:
    """An answer: what it consists of, the stream that tells it, and the same in one piece."""

    thoughts: str
    text: str
    # Name and arguments
    calls: list[tuple[str, str]]
    finish: str
    usage: dict[str, Any]
    stream: bytes
    whole: dict[str, Any]


def event(choices: list[Any], **more: Any) -> bytes:
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return b"data: " + json.dumps(body | more).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return event([{"index": 0, "delta": fields, "finish_reason": finish}])


def _cut(draw: st.DrawFn, text: str) -> list[str]:
    """Into pieces of one to five characters."""
    pieces = []
    while text:
        length = draw(st.integers(1, 5))
        pieces.append(text[:length])
        text = text[length:]
    return pieces


_TEXTS = st.text(max_size=12)
_ARGUMENTS = st.dictionaries(st.sampled_from(("city", "zone", "input")), st.text(max_size=6), max_size=2)


def usage_of(prompt: int, cached: int, completion: int) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return counts | {"prompt_tokens_details": {"cached_tokens": min(cached, prompt)}}


@st.composite
def answers(draw: st.DrawFn) -> MadeUp:
    """Thoughts, text and calls, each of which may be missing; comments, progress and foreign events between them."""
    thoughts, text = draw(_TEXTS), draw(_TEXTS)
    calls = [(draw(st.sampled_from(CALL_NAMES)), json.dumps(draw(_ARGUMENTS))) for _ in range(draw(st.integers(0, 3)))]
    finish = draw(st.sampled_from(("stop", "length", "tool_calls", "content_filter")))
    usage = usage_of(draw(st.integers(1, 900)), draw(st.integers(0, 900)), draw(st.integers(1, 900)))
    out = [draw(st.sampled_from((b"", b": waiting\n\n", b"data: null\n\n")))]
    if draw(st.booleans()):
        progress = {"total": usage["prompt_tokens"], "cache": 0, "processed": 1, "time_ms": 1}
        out.append(event([{"index": 0, "delta": {"role": "assistant", "content": None}}], prompt_progress=progress))
    out.append(delta(role="assistant", content=None))
    out += [delta(reasoning_content=piece) for piece in _cut(draw, thoughts)]
    out += [delta(content=piece) for piece in _cut(draw, text)]
    out += _call_events(draw, calls)
    out.append(delta(finish=finish))
    if draw(st.booleans()):
        out.append(b": ping\n\n")
    out += [event([], usage=usage, timings={"predicted_n": usage["completion_tokens"]}), b"data: [DONE]\n\n"]
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    message |= {"reasoning_content": thoughts} if thoughts else {}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ]
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}
    return MadeUp(thoughts, text, calls, finish, usage, b"".join(out), whole)


def _call_events(draw: st.DrawFn, calls: list[tuple[str, str]]) -> list[bytes]:
    """One call after the other, or their pieces mixed, as some servers do."""
    by_call = []
    for i, (name, arguments) in enumerate(calls):
        begin = {"index": i, "id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": ""}}
        pieces = [{"index": i, "function": {"arguments": piece}} for piece in _cut(draw, arguments)]
        by_call.append([begin, *pieces])
    if not draw(st.booleans()):
        return [delta(tool_calls=[piece]) for pieces in by_call for piece in pieces]
    mixed = [delta(tool_calls=[pieces.pop(0)]) for pieces in by_call]
    while any(by_call):
        pieces = draw(st.sampled_from([pieces for pieces in by_call if pieces]))
        mixed.append(delta(tool_calls=[pieces.pop(0)]))
    return mixed


def chunks(stream: bytes, cut: int) -> list[bytes]:
    """In pieces of `cut` bytes."""
    return [stream[at : at + cut] for at in range(0, len(stream), cut)]


def typed_events(stream: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event; comments are left out."""
    found = []
    for block in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found
