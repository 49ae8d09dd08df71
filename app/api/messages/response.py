"""Converts chat completions to Anthropic's message, complete or as events. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.messages.request import MessagesRequest
from app.api.translated.answer import AnswerWriter
from app.api.translated.calls import ToolCall
from app.api.translated.opaque import mark, pack
from app.api.translated.tools import read_json
from app.relay.amendments.sums import number_of

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_COMMENT = b": waiting for the engine\n\n"


class MessageWriter(AnswerWriter):
    """Writes one message. `ids` makes ids for calls without one.

    `limit_is_ours`: no filter of the entry may have lowered `max_tokens`.
    """

    def __init__(self, request: MessagesRequest, model: str, message_id: str, *, limit_is_ours: bool = False) -> None:
        sure = request.json_only and not request.stop_sequences
        super().__init__(json_field="output_config.format" if sure else "", prefill=request.prefill)
        self._request = request
        self._model = model
        self._id = message_id
        self._limit_is_ours = limit_is_ours
        # The blocks so far. The last one may be open; `_open` is then its type
        self._content: list[dict[str, Any]] = []
        self._open = ""
        self._pieces: list[str] = []
        self._begun = False
        self._prompt: dict[str, int] = {"input_tokens": 0, "cache_read_input_tokens": 0}
        if request.body.get("reasoning_format") == "none":
            self.tagged.stop()

    # -- pieces ------------------------------------------------------------------------------------------------

    def progress(self, progress: dict[str, Any]) -> None:
        cached = number_of(progress, "cache")
        self._prompt = {
            "input_tokens": max(0, number_of(progress, "total") - cached),
            "cache_read_input_tokens": cached,
        }
        self._begin_message()

    def add_reasoning(self, text: str) -> None:
        if self._open != "thinking":
            self._open_block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._pieces.append(text)
        if self._request.shows_thoughts:
            self._delta({"type": "thinking_delta", "thinking": text})

    def add_text(self, text: str, probabilities: list[dict[str, Any]] | None) -> None:
        if self._open != "text":
            self._open_block("text", {"type": "text", "text": ""})
        self._pieces.append(text)
        self._delta({"type": "text_delta", "text": text})

    def refuse(self, text: str) -> None:
        self.add_text(text, None)

    def open_call(self, call: ToolCall) -> None:
        call.slot = call
        number = len(self._content)
        call.call_id = call.call_id or f"toolu_{self._id.removeprefix('msg_')}{number:02}"
        block = {"type": "tool_use", "id": call.call_id, "name": call.name, "input": {}}
        self._open_block("tool_use", block | {"caller": {"type": "direct"}})

    def add_arguments(self, call: ToolCall, text: str) -> None:
        self._delta({"type": "input_json_delta", "partial_json": text})

    def close_call(self, call: ToolCall) -> None:
        given = read_json(str(call.arguments))
        # A call cut at the token limit is not an object
        self._content[-1]["input"] = given if isinstance(given, dict) else {}
        self._close_block()

    # -- the frame ---------------------------------------------------------------------------------------------

    def begin(self) -> bytes:
        return b""  # the first event tells the prompt's tokens

    def comment(self) -> bytes:
        return _PING if self._begun else _COMMENT

    def fail(self, error: dict[str, Any]) -> bytes:
        return _event("error", error)

    def end(self) -> None:
        self._begin_message()
        self._close_block()
        reason, word = self._stop()
        self._send_event(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": word, "stop_details": None, "container": None},
            usage=self._usage(),
        )
        self._send_event("message_stop")

    def body(self) -> dict[str, Any]:
        reason, word = self._stop()
        message = self._message(self._content, self._usage() | {"service_tier": "standard"})
        message |= {"stop_reason": reason, "stop_sequence": word}
        return message | ({} if self.metrics is None else {"metrics": self.metrics})

    def _message(self, content: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        head = {"id": self._id, "type": "message", "role": "assistant", "model": self._model, "content": content}
        return head | {"stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": usage}

    def _begin_message(self) -> None:
        if not self._begun:
            self._begun = True
            usage = self._prompt | {"cache_creation_input_tokens": 0, "output_tokens": 0, "service_tier": "standard"}
            self._send_event("message_start", message=self._message([], usage))
            self._out.append(_PING)

    def _open_block(self, kind: str, block: dict[str, Any]) -> None:
        self._begin_message()
        self._close_block()
        self._open = kind
        self._send_event("content_block_start", index=len(self._content), content_block=block)
        self._content.append(dict(block))

    def _close_block(self) -> None:
        if not self._open:
            return
        block, text = self._content[-1], "".join(self._pieces)
        if self._open == "thinking":
            shown = self._request.shows_thoughts
            block["signature"] = mark(text) if shown else pack(text)
            block["thinking"] = text if shown else ""
            self._delta({"type": "signature_delta", "signature": block["signature"]})
        elif self._open == "text":
            block["text"] = text
        self._send_event("content_block_stop", index=len(self._content) - 1)
        self._open, self._pieces = "", []

    def _delta(self, delta: dict[str, Any]) -> None:
        self._send_event("content_block_delta", index=len(self._content) - 1, delta=delta)

    def _send_event(self, name: str, **fields: Any) -> None:
        self._out.append(_event(name, {"type": name, **fields}))

    # -- the end -----------------------------------------------------------------------------------------------

    def _stop(self) -> tuple[str, str | None]:
        if self.finish_reason == "length":
            return self._limit(), None
        if self.finish_reason == "content_filter" or self.refused:
            return "refusal", None
        if self.has_calls:
            return "tool_use", None
        if self.stop_word is not None and self.stop_word in self._request.stop_sequences:
            return "stop_sequence", self.stop_word
        return "end_turn", None

    def _limit(self) -> str:
        limit, tokens = self._request.max_tokens, self.counts().completion
        full = self._limit_is_ours and limit is not None and 0 < tokens < limit
        return "model_context_window_exceeded" if full else "max_tokens"

    def _usage(self) -> dict[str, Any]:
        counts = self.counts()
        return {
            "input_tokens": counts.prompt - counts.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counts.cached,
            "output_tokens": counts.completion,
            "output_tokens_details": {"thinking_tokens": counts.reasoning},
            "server_tool_use": None,
        }


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(fields) + b"\n\n"
