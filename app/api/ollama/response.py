"""Converts llama-server's answers to Ollama's: complete bodies, and events as lines of JSON.

Durations are in nanoseconds.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.api.ollama.request import OllamaRequest
from app.relay.sse_lines import LineSplitter, data_of


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _line(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields) + b"\n"


class Pieces:
    """Converts a stream's bytes to lines. `finish` tells whether the answer is complete."""

    def __init__(self, request: OllamaRequest, began: float) -> None:
        self._request = request
        self._began = began
        self._lines = LineSplitter()
        self._reason: str | None = None
        self._counts: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def feed(self, chunk: bytes) -> bytes:
        """Converts bytes as they arrive. A comment becomes an empty piece, since clients give up on silence."""
        out = []
        for line in self._lines.feed(chunk):
            if (data := data_of(line)) is not None:
                # Other events are not pieces: [DONE], or another server's own
                with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
                    out.append(self._event(msgspec.json.decode(data)))
            elif line.startswith(b":"):
                out.append(self._piece(""))
        return b"".join(out)

    def finish(self) -> bytes | None:
        """Returns the last line, with the counts, or None if the upstream ended without a reason."""
        if self._reason is None:
            return None
        return _line(self._head("") | done(self._reason, self._counts, self._began))

    def _event(self, event: dict[str, Any]) -> bytes:
        if "error" in event:
            return _line(event)
        self._counts |= {key: event[key] for key in ("usage", "timings") if isinstance(event.get(key), dict)}
        choice = _choice(event)
        delta = choice.get("delta") or choice
        out = []
        thinking, text = delta.get("reasoning_content"), delta.get("content") or delta.get("text")
        if thinking or text:
            out.append(self._piece(text or "", thinking or ""))
        for call in delta.get("tool_calls") or ():
            _add(self._calls, call)
        if reason := _reason(choice):
            self._reason = reason
            if self._calls:
                out.append(self._piece("", calls=[_call(self._calls[i]) for i in sorted(self._calls)]))
                self._calls = {}
        return b"".join(out)

    def _head(self, text: str, thinking: str = "", calls: list[Any] | None = None) -> dict[str, Any]:
        return head(self._request, text, thinking, calls)

    def _piece(self, text: str, thinking: str = "", calls: list[Any] | None = None) -> bytes:
        return _line(self._head(text, thinking, calls) | {"done": False})


def head(request: OllamaRequest, text: str, thinking: str, calls: list[Any] | None) -> dict[str, Any]:
    """Returns the fields of every piece: `message` in a chat, else `response`."""
    piece: dict[str, Any] = {"model": request.model, "created_at": _now()}
    if request.kind != "chat":
        return piece | {"response": text} | ({"thinking": thinking} if thinking else {})
    message: dict[str, Any] = {"role": "assistant", "content": text}
    message |= {"thinking": thinking} if thinking else {}
    return piece | {"message": message | ({"tool_calls": calls} if calls else {})}


def done(reason: str, counts: dict[str, Any], began: float) -> dict[str, Any]:
    """Returns the fields of the last piece. Time outside prompt and decoding counts as loading."""
    total = int((time.perf_counter() - began) * 1e9)
    usage, timings = counts.get("usage", {}), counts.get("timings", {})
    prompt, decode = (int(timings.get(key, 0) * 1e6) for key in ("prompt_ms", "predicted_ms"))
    evaluated = usage.get("prompt_tokens", timings.get("prompt_n", 0) + timings.get("cache_n", 0))
    return {
        "done": True,
        "done_reason": reason,
        "total_duration": total,
        "load_duration": max(0, total - prompt - decode),
        "prompt_eval_count": evaluated,
        "prompt_eval_duration": prompt,
        "eval_count": usage.get("completion_tokens", timings.get("predicted_n", 0)),
        "eval_duration": decode,
    }


def loaded(request: OllamaRequest, reason: str = "load") -> bytes:
    """Returns the answer to a request that only loads the model, or with `unload` unloads it."""
    return _line(head(request, "", "", None) | {"done": True, "done_reason": reason})


def whole(request: OllamaRequest, body: bytes, began: float) -> bytes:
    """Converts a complete answer. Raises ValueError for any other body."""
    completion = msgspec.json.decode(body)
    if not isinstance(completion, dict):
        raise ValueError("not an object")
    if request.kind in ("embed", "embeddings"):
        return _embeddings(request, completion, began)
    choice = _choice(completion)
    message = choice.get("message") or choice
    calls: dict[int, dict[str, Any]] = {}
    for i, call in enumerate(message.get("tool_calls") or ()):
        _add(calls, {"index": i} | call)
    answer = head(
        request,
        message.get("content") or message.get("text") or "",
        message.get("reasoning_content") or "",
        [_call(calls[i]) for i in sorted(calls)],
    )
    counts = {key: completion[key] for key in ("usage", "timings") if isinstance(completion.get(key), dict)}
    return msgspec.json.encode(answer | done(_reason(choice) or "stop", counts, began))


def _embeddings(request: OllamaRequest, completion: dict[str, Any], began: float) -> bytes:
    vectors = [row["embedding"] for row in sorted(completion.get("data") or (), key=lambda row: row.get("index", 0))]
    if request.kind == "embeddings":
        return msgspec.json.encode({"embedding": vectors[0] if vectors else []})
    total = int((time.perf_counter() - began) * 1e9)
    tokens = (completion.get("usage") or {}).get("prompt_tokens", 0)
    counts = {"total_duration": total, "load_duration": 0, "prompt_eval_count": tokens}
    return msgspec.json.encode({"model": request.model, "embeddings": vectors} | counts)


def _choice(event: dict[str, Any]) -> dict[str, Any]:
    """Returns the single choice. /infill answers in llama-server's native form, which is a choice itself."""
    choices = event.get("choices")
    if choices is None:
        return event
    return choices[0] if choices and isinstance(choices[0], dict) else {}


def _reason(choice: dict[str, Any]) -> str | None:
    native = choice.get("stop_type") if choice.get("stop") is True else None
    if (reason := choice.get("finish_reason") or native) is None:
        return None
    return "length" if reason in ("length", "limit") else "stop"


def _add(calls: dict[int, dict[str, Any]], call: dict[str, Any]) -> None:
    """Adds a piece of a call: first its name, then its arguments as text."""
    function = call.get("function") or {}
    known = calls.setdefault(call.get("index", 0), {"id": "", "name": [], "arguments": []})
    known["id"] = call.get("id") or known["id"]
    for field in ("name", "arguments"):
        if isinstance(piece := function.get(field) or "", str):
            known[field].append(piece)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode("".join(call["arguments"]) or "{}")
    except (msgspec.DecodeError, RecursionError):
        arguments = {}  # cut at the token limit
    return {"id": call["id"], "function": {"name": "".join(call["name"]), "arguments": arguments}}
