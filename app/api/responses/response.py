"""Converts chat completions to a response of OpenAI's, complete or as events. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from app.api.responses.items import CUSTOM_INPUT
from app.api.responses.output import CallItem, MessageItem, OutputItem, ReasoningItem
from app.api.responses.request import ResponsesRequest
from app.api.translated.answer import AnswerWriter
from app.api.translated.calls import ToolCall
from app.api.translated.tools import read_json
from app.relay.amendments.sums import number_of

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# The error codes in OpenAI's types of a response.
_ERROR_CODES = frozenset(("server_error", "rate_limit_exceeded", "invalid_prompt"))


class ResponsesWriter(AnswerWriter):
    """Writes one response. `response_id` begins with `resp_`; the ids of its items derive from the rest."""

    def __init__(
        self,
        request: ResponsesRequest,
        model: str,
        response_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(json_field=request.json_field, prefill=request.prefill)
        if request.body.get("reasoning_format") == "none":
            self.tagged.stop()
        self.request = request
        self.response_id = response_id
        self._model = model
        self._clock = clock
        self._created = int(clock())
        self._number = 0
        # llama-server's own field
        self._times_tokens = request.body.get("timings_per_token") is True
        self.output: list[dict[str, Any]] = []
        self._item: OutputItem | None = None
        self._status = "in_progress"
        self._error: dict[str, Any] | None = None

    # -- pieces ------------------------------------------------------------------------------------------------

    def add_reasoning(self, text: str) -> None:
        item = self._item
        if not isinstance(item, ReasoningItem):
            item = ReasoningItem(summarizes=self.request.summarizes, packs=self.request.packs_thoughts)
            self._open(item, "rs")
        item.add(text)

    def add_text(self, text: str, probabilities: list[dict[str, Any]] | None) -> None:
        self._message(refusal=False).add(text, probabilities)

    def refuse(self, text: str) -> None:
        self._message(refusal=True).add(text, None)

    def open_call(self, call: ToolCall) -> None:
        tool = self.request.tools.of_client(call.name)
        call.call_id = call.call_id or f"call_{self.response_id.removeprefix('resp_')[:24]}{len(self.output):02}"
        call.slot = item = CallItem(call.call_id, tool)
        self._open(item, "ctc" if tool.custom else "fc")

    def add_arguments(self, call: ToolCall, text: str) -> None:
        if isinstance(call.slot, CallItem):
            call.slot.add(text)

    def close_call(self, call: ToolCall) -> None:
        if isinstance(call.slot, CallItem) and call.slot.tool.custom:
            given = read_json(str(call.arguments))
            # A call cut at the token limit is not an object
            text = given.get(CUSTOM_INPUT) if isinstance(given, dict) else None
            call.slot.set_input(text if isinstance(text, str) else str(call.arguments))
        self._close()

    def _message(self, *, refusal: bool) -> MessageItem:
        item = self._item
        if not isinstance(item, MessageItem):
            item = MessageItem()
            self._open(item, "msg")
        item.open_part(refusal=refusal)
        return item

    # -- the frame ---------------------------------------------------------------------------------------------

    def begin(self) -> bytes:
        self._send_event("response.created", {"response": self._response()})
        self._send_event("response.in_progress", {"response": self._response()})
        return self._take()

    def progress(self, progress: dict[str, Any]) -> None:
        """Sends llama-server's own field, for clients that set `return_progress`."""
        if self.request.body.get("return_progress") is True:
            self._send_event("response.in_progress", {"response": self._response(), "prompt_progress": progress})

    def comment(self) -> bytes:
        return b": waiting for the engine\n\n"

    def fail(self, error: dict[str, Any]) -> bytes:
        """Sends the failed response, and the error that OpenAI's SDKs raise."""
        inner = error.get("error")
        fields = inner if isinstance(inner, dict) else error
        code = fields.get("code")
        self._status = "failed"
        self._error = {
            "code": code if code in _ERROR_CODES else "server_error",
            "message": str(fields.get("message") or "The engine failed."),
        }
        if self._item is not None:
            self._item.cut()
            self.output.append(self._item.body())
            self._item = None
        self._send_event("response.failed", {"response": self._response()})
        self._send_event("error", {name: value for name, value in error.items() if name != "type"})
        return self._take()

    def end(self) -> None:
        reason = str(self.finish_reason)
        self._status = "incomplete" if reason in _INCOMPLETE else "completed"
        if self._item is None and not self.output:
            self._message(refusal=False)  # an empty answer still has a message
        if self._item is not None:
            self._close(cut=self._status == "incomplete")
        elif self._status == "incomplete" and self.output:
            self.output[-1]["status"] = "incomplete"
        more = {"timings": self.timings} if self.timings else {}
        self._send_event(f"response.{self._status}", {"response": self._response()} | more)

    def body(self) -> dict[str, Any]:
        return self._response() | ({} if self.metrics is None else {"metrics": self.metrics})

    def _response(self) -> dict[str, Any]:
        ended = self._status in ("completed", "incomplete")
        reason = _INCOMPLETE.get(str(self.finish_reason)) if self._status == "incomplete" else None
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(self._clock()) if self._status == "completed" else None,
            "status": self._status,
            "error": self._error,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self._model,
            "output": list(self.output),
            "usage": self._usage() if ended else None,
            **self.request.echoed,
        }

    def _usage(self) -> dict[str, Any]:
        counts = self.counts()
        return {
            "input_tokens": counts.prompt,
            "input_tokens_details": {"cached_tokens": counts.cached, "cache_write_tokens": 0},
            "output_tokens": counts.completion,
            "output_tokens_details": {"reasoning_tokens": counts.reasoning},
            "total_tokens": number_of(self.usage, "total_tokens") or counts.prompt + counts.completion,
        }

    # -- items -------------------------------------------------------------------------------------------------

    def _open(self, item: OutputItem, kind: str) -> None:
        self._close()
        item_id = f"{kind}_{self.response_id.removeprefix('resp_')}{len(self.output):02}"
        self._item = item
        item.open(item_id, len(self.output), self._send_event)

    def _close(self, *, cut: bool = False) -> None:
        if self._item is not None:
            self._item.close(cut=cut)
            self.output.append(self._item.body())
            self._item = None

    def _send_event(self, name: str, fields: dict[str, Any]) -> None:
        event = {"type": name, "sequence_number": self._number, **fields}
        if self._times_tokens and self.timings and name.endswith(".delta"):
            event["timings"] = self.timings
        self._number += 1
        self._out.append(b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n")
