"""Bodies and events of the five completion surfaces, shaped like llama-server's.

A surface turns a Job into bytes: `opening` and `closing` events around a `token` event each, or a `whole` body.
"""

from __future__ import annotations

import json
import time
from typing import Any

FINGERPRINT = "b0-fake"


class Job:
    """One completion: what was asked, and how far it has got. Texts are `t0 t1 t2 ...`: the same on every run."""

    def __init__(self, number: int, model: str, request: dict[str, Any], limit: int, drafting: int) -> None:
        asked = next((request[key] for key in LIMITS if isinstance(request.get(key), int)), None)
        wants_all = asked is not None and asked >= 0 and (asked <= limit or request.get("ignore_eos"))
        self.number = number
        self.model = model
        self.stream = request.get("stream") is True
        self.count = asked if wants_all and asked is not None else limit
        self.cut = bool(wants_all)
        self.created = int(time.time())
        self.prompt_tokens = len(json.dumps(request.get("messages") or request.get("prompt") or "")) // 4 + 1
        self.include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self.timings_per_token = request.get("timings_per_token") is True
        self.wants_progress = request.get("return_progress") is True
        self.cached = 0
        self.tokens = 0
        self.began = time.monotonic()
        self.first = self.looked = self.began
        self._n_max = drafting
        self.first_text = "t0"

    def token(self, index: int) -> str:
        return f" t{index}" if index else self.first_text

    @property
    def text(self) -> str:
        return "".join(self.token(index) for index in range(self.tokens))

    @property
    def drafted(self) -> tuple[int, int, int]:
        """Proposed, accepted, steps: all but the last proposal of a step fit. Fewer than 3 tokens draft nothing."""
        if not self._n_max or self.count < 3:
            return 0, 0, 0
        accepted = max(1, self._n_max - 1)
        steps = max(1, (self.tokens - 1) // (accepted + 1))
        return steps * self._n_max, steps * accepted, steps

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "completion_tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.tokens + self.prompt_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    @property
    def timings(self) -> dict[str, Any]:
        prompt_ms = max(1e-3, (self.first - self.began) * 1000)
        decode_ms = max(1e-3, (time.monotonic() - self.first) * 1000)
        timings: dict[str, Any] = {
            "cache_n": self.cached,
            "prompt_n": max(1, self.prompt_tokens - self.cached),
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": prompt_ms / self.prompt_tokens,
            "prompt_per_second": 1000 * self.prompt_tokens / prompt_ms,
            "predicted_n": self.tokens,
            "predicted_ms": decode_ms,
            "predicted_per_token_ms": decode_ms / max(1, self.tokens - 1),
            "predicted_per_second": 1000 * max(0, self.tokens - 1) / decode_ms,
        }
        proposed, accepted, _ = self.drafted
        if proposed:
            timings |= {"draft_n": proposed, "draft_n_accepted": accepted}
        return timings


LIMITS = ("max_tokens", "max_completion_tokens", "n_predict", "max_output_tokens")


def event(data: object, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


DONE = event("[DONE]")


class Chat:
    """POST /v1/chat/completions."""

    def _chunk(self, job: Job, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
        choices = [] if delta is None else [{"finish_reason": finish, "index": 0, "delta": delta}]
        return {"choices": choices, **_identity(job, "chat.completion.chunk")}

    def opening(self, job: Job) -> list[bytes]:
        return [event(self._chunk(job, {"role": "assistant", "content": None}))]

    def token(self, job: Job, index: int) -> bytes:
        chunk = self._chunk(job, {"content": job.token(index)})
        return event(chunk | {"timings": job.timings} if job.timings_per_token else chunk)

    def closing(self, job: Job) -> list[bytes]:
        last = self._chunk(job, {}, "length" if job.cut else "stop")
        if not job.include_usage:
            return [event(last | {"timings": job.timings}), DONE]
        usage = self._chunk(job, None) | {"usage": job.usage, "timings": job.timings}
        return [event(last), event(usage), DONE]

    def whole(self, job: Job) -> dict[str, Any]:
        message = {"role": "assistant", "content": job.text}
        choice = {"finish_reason": "length" if job.cut else "stop", "index": 0, "message": message}
        return {"choices": [choice], **_identity(job, "chat.completion"), "usage": job.usage, "timings": job.timings}


class Completions:
    """POST /v1/completions."""

    def _body(self, job: Job, text: str, finish: str | None) -> dict[str, Any]:
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
        return {"choices": [choice], **_identity(job, "text_completion")}

    def opening(self, job: Job) -> list[bytes]:
        return []

    def token(self, job: Job, index: int) -> bytes:
        chunk = self._body(job, job.token(index), None)
        return event(chunk | {"timings": job.timings} if job.timings_per_token else chunk)

    def closing(self, job: Job) -> list[bytes]:
        return [event(self._last(job, "")), DONE]

    def whole(self, job: Job) -> dict[str, Any]:
        return self._last(job, job.text)

    def _last(self, job: Job, text: str) -> dict[str, Any]:
        finish = "length" if job.cut else "stop"
        return self._body(job, text, finish) | {"usage": job.usage, "timings": job.timings}


class Native:
    """POST /completion: llama-server's own format, without `[DONE]`."""

    def opening(self, job: Job) -> list[bytes]:
        return []

    def token(self, job: Job, index: int) -> bytes:
        head = {"index": 0, "content": job.token(index), "tokens": [index], "stop": False, "id_slot": -1}
        return event(head | {"tokens_predicted": index + 1, "tokens_evaluated": job.prompt_tokens})

    def closing(self, job: Job) -> list[bytes]:
        return [event(self._last(job, ""))]

    def whole(self, job: Job) -> dict[str, Any]:
        return self._last(job, job.text)

    def _last(self, job: Job, text: str) -> dict[str, Any]:
        head = {"index": 0, "content": text, "tokens": [], "id_slot": 0, "stop": True, "model": job.model}
        counts = {"tokens_predicted": job.tokens, "tokens_evaluated": job.prompt_tokens, "truncated": False}
        return head | counts | {"stop_type": "limit" if job.cut else "eos", "timings": job.timings}


class Messages:
    """POST /v1/messages (Anthropic): no timings anywhere."""

    def _message(self, job: Job, content: list[Any], stop: str | None, out: int) -> dict[str, Any]:
        usage = {"cache_read_input_tokens": 0, "input_tokens": job.prompt_tokens, "output_tokens": out}
        head = {"id": f"chatcmpl-{job.number:032}", "type": "message", "role": "assistant", "content": content}
        return head | {"model": job.model, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def opening(self, job: Job) -> list[bytes]:
        return [
            _typed("message_start", message=self._message(job, [], None, 0)),
            _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        ]

    def token(self, job: Job, index: int) -> bytes:
        return _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": job.token(index)})

    def closing(self, job: Job) -> list[bytes]:
        delta = {"stop_reason": "max_tokens" if job.cut else "end_turn", "stop_sequence": None}
        return [
            _typed("content_block_stop", index=0),
            _typed("message_delta", delta=delta, usage={"output_tokens": job.tokens}),
            _typed("message_stop"),
        ]

    def whole(self, job: Job) -> dict[str, Any]:
        content = [{"type": "text", "text": job.text}]
        return self._message(job, content, "max_tokens" if job.cut else "end_turn", job.tokens)


class Responses:
    """POST /v1/responses: no `[DONE]`; timings on the last event of a stream only."""

    def _item(self, job: Job, status: str, content: list[Any]) -> dict[str, Any]:
        head = {"type": "message", "status": status, "id": f"msg_{job.number:032}"}
        return head | {"content": content, "role": "assistant"}

    def _response(self, job: Job, **more: Any) -> dict[str, Any]:
        return {"id": f"resp_{job.number:032}", "object": "response", "created_at": job.created, **more}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def opening(self, job: Job) -> list[bytes]:
        begun, item = self._response(job, status="in_progress"), self._item(job, "in_progress", [])
        return [
            _typed("response.created", response=begun),
            _typed("response.in_progress", response=begun),
            _typed("response.output_item.added", item=item),
            _typed("response.content_part.added", item_id=item["id"], part={"type": "output_text", "text": ""}),
        ]

    def token(self, job: Job, index: int) -> bytes:
        return _typed("response.output_text.delta", item_id=f"msg_{job.number:032}", delta=job.token(index))

    def closing(self, job: Job) -> list[bytes]:
        item = self._item(job, "completed", [self._part(job.text)])
        return [
            _typed("response.output_text.done", item_id=item["id"], text=job.text),
            _typed("response.content_part.done", item_id=item["id"], part=self._part(job.text)),
            _typed("response.output_item.done", item=item),
            _typed("response.completed", response=self.whole(job), timings=job.timings),
        ]

    def whole(self, job: Job) -> dict[str, Any]:
        usage = {"input_tokens": job.prompt_tokens, "output_tokens": job.tokens}
        usage["total_tokens"] = job.prompt_tokens + job.tokens
        output = [self._item(job, "completed", [self._part(job.text)])]
        return self._response(job, status="completed", model=job.model, output=output, usage=usage)


def _identity(job: Job, kind: str) -> dict[str, Any]:
    head = {"created": job.created, "id": f"chatcmpl-{job.number:032}", "model": job.model}
    return head | {"system_fingerprint": FINGERPRINT, "object": kind}


def _typed(name: str, **fields: Any) -> bytes:
    return event({"type": name, **fields}, name)
