"""Completes the stream of a prefilled tool call, whose prefilled arguments llama-server leaves out. Pure.

With `continue_final_message` a stream begins after the prefilled part (b11434). That is right for text, but arguments
are JSON only as a whole. With `echo` the stream has the prefilled part, of which the client gets the call alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.relay.amendments.answer import Event
from app.relay.request.json_decode import decoded

_TEXTS = ("content", "reasoning_content")
_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])


def prefilled(raw: bytes) -> dict[str, str] | None:
    """The texts of the last message, if it is an assistant's; `raw` are the messages as JSON."""
    try:
        messages = _MESSAGES.decode(raw)
        last = decoded(bytes(messages[-1])) if messages else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the engine reports it
    if not isinstance(last, dict) or last.get("role") != "assistant":
        return None
    texts = {name: last.get(name) or "" for name in _TEXTS}
    return texts if all(isinstance(text, str) for text in texts.values()) else None


class WithoutPrefill:
    """Removes the client's own texts from the beginning of each choice."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        # By choice and field, the part of the text that may still come
        self._expected: dict[tuple[int, str], str] = {}

    def whole(self, answer: Event) -> Event:
        return answer

    def event(self, event: Event) -> Event | None:
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return event
        kept = [self._choice(choice) for choice in choices]
        if kept == choices:
            return event
        silent = all(choice.get("delta") == {} and choice.get("finish_reason") is None for choice in kept)
        return None if silent else event | {"choices": kept}

    def last(self) -> Event | None:
        return None

    def _choice(self, choice: Any) -> Any:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            return choice
        left = dict(delta)
        for name in _TEXTS:
            if isinstance(text := delta.get(name), str) and not (
                rest := self._rest(choice.get("index", 0), name, text)
            ):
                del left[name]
            elif isinstance(text, str):
                left[name] = rest
        return choice | {"delta": left}

    def _rest(self, index: int, name: str, text: str) -> str:
        expected = self._expected.get((index, name), self._texts[name])
        length = next((i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b), None)
        if length is None:
            length = min(len(text), len(expected))
            self._expected[index, name] = expected[length:]
        else:
            self._expected[index, name] = ""
        return text[length:]
