"""Formats a log line as text: a request's figures first, in a fixed order.

`22:10:20  200 chat  glm  58 -> 1500 tok  300 tok/s  ttft 0.65 s  5.0 s`
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from app.terminal import visible

_REQUEST = re.compile(r"(?P<method>[A-Z]+) (?P<path>/\S*)\Z")
# Short names of paths, by their last segments
_NAMES = {
    "/chat/completions": "chat",
    "/api/chat": "chat",
    "/completions": "completion",
    "/completion": "completion",
    "/embeddings": "embed",
    "/embedding": "embed",
    "/api/embed": "embed",
    "/api/embeddings": "embed",
    "/messages": "messages",
    "/responses": "responses",
    "/rerank": "rerank",
    "/reranking": "rerank",
    "/audio/transcriptions": "audio",
    "/api/generate": "generate",
    "/infill": "infill",
}
_SGR = {"warning": "33", "error": "31", "critical": "31", "debug": "2"}


def line_for_people(
    at: float, level: str, event: Mapping[str, Any], *, coloured: bool = False, debug: bool = False
) -> str:
    """Formats a line. `event` holds the text as `event`, and the fields.

    `at` is in seconds since the epoch. Controls are shown.
    """
    fields = {name: value for name, value in event.items() if value is not None and name != "event"}
    text, trace = str(event.get("event", "")), fields.pop("exception", None)
    request = _REQUEST.match(text)
    line = _request(request, fields, debug=debug) if request and "status" in fields else _event(text, level, fields)
    line = visible(f"{time.strftime('%H:%M:%S', time.localtime(at))}  {line}".replace("\n", " "))
    if trace is not None:
        line += f"\n{visible(str(trace))}"
    return f"\033[{_SGR[level]}m{line}\033[0m" if coloured and level in _SGR else line


def _event(text: str, level: str, fields: dict[str, Any]) -> str:
    loud = f"{level}: " if level in ("warning", "error", "critical") else ""
    return "  ".join([f"{loud}{text}", *_pairs(fields)])


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in fields.items() if value != ""]


def _request(request: re.Match[str], fields: dict[str, Any], *, debug: bool) -> str:
    status, request_id = fields.pop("status"), fields.pop("request_id", None)
    error, ms, ttft = fields.pop("error", None), fields.pop("ms", None), fields.pop("ttft_ms", None)
    parts = [f"{status} {_called(request['method'], request['path'])}", str(fields.pop("alias", ""))]
    parts += _tokens(fields, ms)
    parts += [f"ttft {_seconds(ttft, 2)}"] if ttft is not None else []
    parts += [_seconds(ms, 1)] if ms is not None else []
    parts += _pairs(fields)
    parts += [str(error)] if error is not None else []
    if request_id is not None and (debug or error is not None or status >= 400):
        parts.append(f"id {request_id}")
    return "  ".join(part for part in parts if part)


def _called(method: str, path: str) -> str:
    name = _NAMES.get(path.removeprefix("/v1")) if method == "POST" else None
    return name or f"{method} {path}"


def _tokens(fields: dict[str, Any], ms: float | None) -> list[str]:
    """Formats `58 -> 1500 tok`, `300 tok/s`, and the number of accepted draft tokens."""
    read, written = fields.pop("prompt_tokens", None), fields.pop("completion_tokens", None)
    drafted, accepted, speed = fields.pop("drafted", None), fields.pop("accepted", None), fields.pop("tok_s", None)
    parts = []
    if written is not None:
        parts.append(f"{read} -> {written} tok" if read is not None else f"{written} tok")
        if speed is None and written and ms:
            speed = 1000 * written / ms
        if speed is not None:
            parts.append(f"{speed:.0f} tok/s" if speed >= 10 else f"{speed:.1f} tok/s")
    elif read is not None:
        parts.append(f"{read} tok")
    if drafted:
        parts.append(f"{100 * (accepted or 0) / drafted:.0f} % of {drafted} drafted accepted")
    return parts


def _seconds(ms: float, digits: int) -> str:
    return f"{ms:.0f} ms" if ms < 100 else f"{ms / 1000:.{digits}f} s"
