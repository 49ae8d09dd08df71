"""The base of translated answers: the pieces of a chat completion in order. Pure.

Each API's writer converts the pieces. Tool calls never overlap here, though servers may interleave them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from app.api.translated.calls import ToolCall, ToolCalls
from app.api.translated.chat_events import CallDelta, ChatChoice, ChatDelta, ChatEvent
from app.api.translated.counts import TokenCounts, token_counts
from app.api.translated.prefill import Prefill
from app.api.translated.tagged_thoughts import TaggedThoughts
from app.api.translated.tools import encode_json, read_json
from app.errors import FormatIgnoredError


class AnswerWriter(ABC):
    """Converts events to bytes of the client's API. `json_field` names the field that requests JSON, if any.

    `prefill` is the beginning of the answer, written by the client.
    """

    def __init__(self, *, json_field: str = "", prefill: str = "") -> None:
        self._json_field = "" if prefill else json_field
        self._prefill = Prefill(prefill)
        self._out: list[bytes] = []
        # From the last events
        self.finish_reason: str | None = None
        self.stop_word: str | None = None
        self.usage: dict[str, Any] = {}
        self.timings: dict[str, Any] = {}
        self.metrics: dict[str, Any] | None = None
        # The received parts
        self.texts: list[str] = []
        self.refused = False
        # Their characters: of reasoning, and of all
        self._reasoning_length = self._length = 0
        self._calls = ToolCalls()
        self._current: ToolCall | None = None
        self._held_texts: list[str] = []
        self.tagged = TaggedThoughts()
        if prefill:
            self.tagged.stop()

    # -- implemented by each API -------------------------------------------------------------------------------

    @abstractmethod
    def add_reasoning(self, text: str) -> None:
        """Sends a piece of thoughts."""

    @abstractmethod
    def add_text(self, text: str, probabilities: list[dict[str, Any]] | None) -> None:
        """Sends a piece of text."""

    @abstractmethod
    def refuse(self, text: str) -> None:
        """Sends a piece of a refusal."""

    @abstractmethod
    def open_call(self, call: ToolCall) -> None:
        """Begins a call, whose name is complete."""

    @abstractmethod
    def add_arguments(self, call: ToolCall, text: str) -> None:
        """Sends a piece of the open call's arguments."""

    @abstractmethod
    def close_call(self, call: ToolCall) -> None:
        """Ends the open call."""

    @abstractmethod
    def end(self) -> None:
        """Sends the last events."""

    @abstractmethod
    def begin(self) -> bytes:
        """Sends the events before the engine's first one."""

    @abstractmethod
    def progress(self, progress: dict[str, Any]) -> None:
        """Sends the progress of the prompt, if the engine reports it."""

    @abstractmethod
    def comment(self) -> bytes:
        """Sends a comment, which keeps the connection alive."""

    @abstractmethod
    def fail(self, error: dict[str, Any]) -> bytes:
        """Sends the last event of an interrupted stream. `error` is its data in this API's error format."""

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """Returns the complete answer."""

    # -- reading -----------------------------------------------------------------------------------------------

    def event(self, event: ChatEvent) -> bytes:
        """Converts one event of a stream."""
        if event.usage is not None:
            self.usage = event.usage
        if event.timings is not None:
            self.timings = event.timings
        if event.verbose is not None and event.verbose.stopping_word:
            self.stop_word = event.verbose.stopping_word
        if event.prompt_progress is not None:
            self.progress(event.prompt_progress)
        for choice in event.choices:
            if choice.index == 0:
                self._choice(choice)
        return self._take()

    def finish(self) -> bytes:
        """Ends a complete stream. Raises FormatIgnoredError."""
        self._end()
        return self._take()

    def whole(self, event: ChatEvent) -> dict[str, Any]:
        """Converts the body of a complete answer. Raises FormatIgnoredError."""
        self.begin()
        message = event.choices[0].message
        if message is not None and message.tool_calls:
            for i, call in enumerate(message.tool_calls):
                call.index = i
        self.metrics = event.metrics
        self.event(event)
        self._end()
        return self.body()

    @property
    def ended(self) -> bool:
        return self.finish_reason is not None

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def counts(self) -> TokenCounts:
        return token_counts(self.usage, self.timings, thought=self._reasoning_length, said=self._length)

    def _take(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _choice(self, choice: ChatChoice) -> None:
        delta = choice.delta if choice.delta is not None else choice.message
        if delta is not None:
            self._read_delta(delta, choice.logprobs.content if choice.logprobs is not None else None)
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        if isinstance(choice.stop_reason, str):
            self.stop_word = choice.stop_reason

    def _read_delta(self, delta: ChatDelta, probabilities: list[dict[str, Any]] | None) -> None:
        if thought := delta.reasoning_content or delta.reasoning:
            self.tagged.stop()
            self._add_reasoning(thought)
        if probabilities is not None:
            self.tagged.stop()  # they belong to the unchanged pieces
        if delta.content:
            self._add_text(*self.tagged.feed(delta.content), probabilities)
        if delta.refusal:
            self.refused = True
            self.refuse(delta.refusal)
        if delta.tool_calls:
            self._add_text(*self.tagged.end(), None)
            for call in delta.tool_calls:
                self._call(call)

    def _add_reasoning(self, thought: str) -> None:
        self._reasoning_length += len(thought)
        self._length += len(thought)
        self.add_reasoning(thought)

    def _add_text(self, thought: str, text: str, probabilities: list[dict[str, Any]] | None) -> None:
        if thought:
            self._add_reasoning(thought)
        if text:
            self._text(text, probabilities)

    def _text(self, text: str, probabilities: list[dict[str, Any]] | None) -> None:
        current = self._current
        if current is not None:
            if not current.complete:
                self._held_texts.append(text)  # pieces that arrive within a call are sent after it
                return
            self._close_current()
        if text := self._prefill.feed(text):
            self.texts.append(text)
            self._length += len(text)
            self.add_text(text, probabilities)

    def _call(self, delta: CallDelta) -> None:
        function = delta.function
        call = self._calls.of(delta, (function.name if function is not None else None) or "")
        if function is not None and function.arguments:
            given = function.arguments
            text = given if isinstance(given, str) else encode_json(given)
            call.add_arguments(text)
            self._length += len(text)
        current = self._current
        if call is not current and call.name and call.slot is None and (current is None or current.complete):
            self._close_current()
            self._open_next()
        self._send_arguments()

    def _open_next(self) -> bool:
        """Opens the first call that has a name, and tells whether there was one."""
        call = self._calls.next_unopened()
        if call is not None:
            self._current = call
            self.open_call(call)
        return call is not None

    def _send_arguments(self) -> None:
        if (call := self._current) is not None and (waiting := call.take_waiting()):
            self.add_arguments(call, waiting)

    def _close_current(self) -> None:
        if self._current is not None:
            self._send_arguments()
            self.close_call(self._current)
            self._current = None

    def _end(self) -> None:
        self.finish_reason = self.finish_reason or "stop"
        self._add_text(*self.tagged.end(), None)
        self._close_current()
        while self._open_next():
            self._close_current()
        if text := self._prefill.end() + "".join(self._held_texts):
            self._text(text, None)
        self._check_json()
        self.end()

    def _check_json(self) -> None:
        """Refuses an answer that is not JSON, from an engine that ignored the format."""
        plain = self.finish_reason == "stop" and self.stop_word is None and not self.has_calls and not self.refused
        if self._json_field and plain and read_json("".join(self.texts)) is None:
            raise FormatIgnoredError(self._json_field)
