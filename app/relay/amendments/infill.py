"""Serves `suffix` of /v1/completions by llama-server's /infill, with the answer as a text completion. Pure."""

from __future__ import annotations

import time
from typing import Any

from app.relay.amendments.answer import Event

PATH = "/infill"
_REASONS = {"limit": "length"}


class InfilledText:
    """Converts the native answer to OpenAI's format, except `[DONE]`, which the native stream lacks."""

    def __init__(self, request_id: str) -> None:
        self._head = {"id": f"cmpl-{request_id}", "object": "text_completion", "created": int(time.time())}

    def whole(self, answer: Event) -> Event:
        if not isinstance(answer.get("content"), str):
            return answer
        return self._completion(answer, answer["content"], _reason(answer)) | {
            "usage": _usage(answer),
            **_timings(answer),
        }

    def event(self, event: Event) -> Event | None:
        if not isinstance(event.get("content"), str):
            return event
        if event.get("stop") is not True:
            return self._completion(event, event["content"], None)
        return self._completion(event, event["content"], _reason(event)) | {"usage": _usage(event)} | _timings(event)

    def last(self) -> Event | None:
        return None

    def _completion(self, native: Event, text: str, reason: str | None) -> Event:
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}
        return self._head | {"model": native.get("model"), "choices": [choice]}


def _reason(native: Event) -> str:
    return _REASONS.get(str(native.get("stop_type")), "stop")


def _usage(native: Event) -> dict[str, Any]:
    prompt, completion = (native.get(name) or 0 for name in ("tokens_evaluated", "tokens_predicted"))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _timings(native: Event) -> Event:
    return {"timings": native["timings"]} if "timings" in native else {}
