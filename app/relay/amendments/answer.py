"""Changes the answer of an amended request, whole or event by event. Sans-io and pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from app.relay.amendments.sums import ChoiceCounts, shared_out

Event = dict[str, Any]
_END = re.compile(rb"\r?\n\r?\n")
_MOST_OF_END = 3
_DONE = b"[DONE]"
CLOSING = b"data: [DONE]\n\n"


class AnswerChange(Protocol):
    """One change of the answer."""

    def whole(self, answer: Event) -> Event:
        """Changes an answer in one piece."""

    def event(self, event: Event) -> Event | None:
        """Changes an event of a stream; None drops it."""

    def last(self) -> Event | None:
        """An event to send before the stream's end."""


class AmendedAnswer(Protocol):
    """The relay's interface to a changed answer; `tally` counts tokens that llama-server does not."""

    tally: ChoiceCounts | None
    per_prompt: int

    def whole(self, body: bytes) -> bytes:
        """Changes an answer in one piece. Raises InvalidBodyError if it shows that the request cannot be served."""

    def feed(self, chunk: bytes) -> bytes:
        """Takes the next bytes of a stream, cut anywhere, and returns the bytes to send."""

    def end(self) -> bytes:
        """Returns the bytes that are left at the end of the stream."""


class ChangedAnswer:
    """Applies `changes` in their order. Other events than a completion's pass unchanged, such as errors."""

    def __init__(
        self,
        changes: Sequence[AnswerChange],
        tally: ChoiceCounts | None = None,
        per_prompt: int = 1,
        closing: bytes = b"",
    ) -> None:
        self.tally = tally
        self.per_prompt = per_prompt
        self._changes = changes
        # Sent after a stream's last byte
        self._closing = closing
        # Bytes of an event that has not ended; no end lies in the first `_searched`
        self._rest = bytearray()
        self._searched = 0

    def whole(self, body: bytes) -> bytes:
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        if not isinstance(answer, dict):
            return body
        for change in self._changes:
            answer = change.whole(answer)
        return msgspec.json.encode(answer)

    def feed(self, chunk: bytes) -> bytes:
        self._rest += chunk
        out, at = [], 0
        for end in _END.finditer(self._rest, self._searched):
            out.append(self._block(bytes(self._rest[at : end.end()])))
            at = end.end()
        del self._rest[:at]
        self._searched = max(0, len(self._rest) - _MOST_OF_END)
        return b"".join(out)

    def end(self) -> bytes:
        rest, self._rest, self._searched = bytes(self._rest), bytearray(), 0
        return rest + self._closing

    def _block(self, block: bytes) -> bytes:
        """Changes one event; `block` includes its empty line."""
        data = block.strip()
        if not data.startswith(b"data:") or b"\n" in data:
            return block
        data = data[5:].strip()
        if data == b"null":
            return b""
        if data == _DONE:
            return b"".join([*map(_written, filter(None, [change.last() for change in self._changes])), block])
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return block
        if not isinstance(event, dict) or "error" in event:
            return block
        return self._changed(event)

    def _changed(self, event: Event) -> bytes:
        for change in self._changes:
            if (changed := change.event(event)) is None:
                return b""
            event = changed
        return _written(event)


def _written(event: Event) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


class Counted:
    """Sets `usage` to the sum of all choices and prompts: once in a stream, at the end of the last choice."""

    def __init__(self, tally: ChoiceCounts, choices: int, prompt_lengths: Sequence[int]) -> None:
        self._tally = tally
        self._left = choices
        self._lengths = prompt_lengths
        self._last_index = 0
        self._held: Event | None = None

    def whole(self, answer: Event) -> Event:
        usage, timings, choices = answer.get("usage"), answer.get("timings"), answer.get("choices")
        if not isinstance(usage, dict) or not isinstance(timings, dict) or not isinstance(choices, list) or not choices:
            return answer
        first = usage.get("completion_tokens")
        if not isinstance(first, int) or first != timings.get("predicted_n"):
            return answer  # the server has counted all choices
        prompt = usage.get("prompt_tokens") or 0
        if self._lengths and self._lengths[0]:
            prompt = round(prompt * sum(self._lengths) / self._lengths[0])
        tokens = shared_out(choices, first)
        counted = {"completion_tokens": tokens, "prompt_tokens": prompt, "total_tokens": prompt + tokens}
        return answer | {"usage": usage | counted}

    def event(self, event: Event) -> Event | None:
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                self._last_index = index if isinstance(index, int) else 0
                self._left -= choice.get("finish_reason") is not None
        usage, timings = event.get("usage"), event.get("timings")
        if not isinstance(timings, dict):
            return event  # not llama-server, and others count all choices
        self._tally.add(self._last_index, usage, timings)
        if not isinstance(usage, dict):
            return event
        if not choices:
            self._held = event
            return None
        if self._left > 0:
            return {name: value for name, value in event.items() if name != "usage"}
        return event | {"usage": self._tally.usage()}

    def last(self) -> Event | None:
        return None if self._held is None else self._held | {"usage": self._tally.usage()}


class LegacyCalls:
    """Renames tool calls to `function_call`, for requests with `functions`."""

    def whole(self, answer: Event) -> Event:
        return answer | {"choices": [self._choice(choice, "message") for choice in answer.get("choices") or ()]}

    def event(self, event: Event) -> Event | None:
        return event | {"choices": [self._choice(choice, "delta") for choice in event.get("choices") or ()]}

    def last(self) -> Event | None:
        return None

    def _choice(self, choice: Any, name: str) -> Any:
        message = choice.get(name) if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            return choice
        calls = message.get("tool_calls")
        renamed = {field: value for field, value in message.items() if field != "tool_calls"}
        if isinstance(calls, list) and calls and calls[0].get("index", 0) == 0:
            renamed["function_call"] = calls[0].get("function") or {}
        reason = choice.get("finish_reason")
        return choice | {name: renamed, "finish_reason": "function_call" if reason == "tool_calls" else reason}


class Echoed:
    """Puts each prompt before its text; `prompts` are by number."""

    def __init__(self, prompts: Sequence[str], per_prompt: int) -> None:
        self._prompts = prompts
        self._per_prompt = per_prompt
        self._begun: set[int] = set()

    def whole(self, answer: Event) -> Event:
        return answer | {"choices": [self._choice(choice) for choice in answer.get("choices") or ()]}

    def event(self, event: Event) -> Event | None:
        return self.whole(event)

    def last(self) -> Event | None:
        return None

    def _choice(self, choice: Any) -> Any:
        index = choice.get("index", 0) if isinstance(choice, dict) else None
        if index is None or index in self._begun or not isinstance(choice.get("text"), str):
            return choice
        self._begun.add(index)
        return choice | {"text": self._prompts[min(index // self._per_prompt, len(self._prompts) - 1)] + choice["text"]}


class WithoutAlternatives:
    """Removes the alternatives of each token from log probabilities."""

    def whole(self, answer: Event) -> Event:
        for choice in answer.get("choices") or ():
            probabilities = choice.get("logprobs") if isinstance(choice, dict) else None
            content = probabilities.get("content") if isinstance(probabilities, dict) else None
            for token in content or ():
                token["top_logprobs"] = []
        return answer

    def event(self, event: Event) -> Event | None:
        return self.whole(event)

    def last(self) -> Event | None:
        return None
