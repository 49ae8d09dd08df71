"""A conversation with one model: its messages and request fields; and one answer, requested and printed."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from app.cli.chat_client import ChatClient, Message, error_words
from app.cli.chat_writer import TerminalAnswer
from app.cli.loading_line import LoadingLine
from app.errors import UpstreamError
from app.terminal import is_terminal, one_line, paint, wrapped


@dataclass(slots=True)
class ChatAnswer:
    """A finished answer. `seconds` are from the first token to the last.

    `error` is set after a failure, `stopped` after Ctrl-C.
    """

    text: str = ""
    finish: str | None = None
    error: str | None = None
    stopped: bool = False
    tools: list[str] = field(default_factory=list)
    tokens: int | None = None
    speed: float | None = None
    drafted: int = 0
    accepted: int = 0

    def figures(self) -> str:
        """Returns `31 tokens, 42 tok/s, 62 % of drafts accepted`, or an empty text without figures."""
        parts = []
        if self.tokens is not None:
            parts.append(f"{self.tokens} token{'' if self.tokens == 1 else 's'}")
        if self.speed:
            parts.append(f"{self.speed:.0f} tok/s" if self.speed >= 10 else f"{self.speed:.1f} tok/s")
        if self.drafted:
            parts.append(f"{100 * self.accepted / self.drafted:.0f} % of drafts accepted")
        return ", ".join(parts)


class ChatConversation:
    """A conversation. `wishes` are request fields, such as temperature.

    It prints answers on stdout, and the rest on stderr.
    """

    def __init__(
        self, client: ChatClient, alias: str, *, system: str | None = None, wishes: dict[str, Any] | None = None
    ) -> None:
        self.client = client
        self.alias = alias
        self.wishes = dict(wishes or {})
        self.thoughts = True
        self.messages: list[Message] = []
        self.last: ChatAnswer | None = None
        self.images: list[str] = []
        self.set_system(system)

    def set_system(self, text: str | None) -> None:
        """Sets the system message from the next answer on. None or an empty text removes it."""
        self.messages = [message for message in self.messages if message["role"] != "system"]
        if text:
            self.messages.insert(0, {"role": "system", "content": text})

    def reset(self) -> None:
        """Clears the conversation. The system message stays."""
        self.messages = [message for message in self.messages if message["role"] == "system"]
        self.last, self.images = None, []

    def ask(self, text: str) -> ChatAnswer:
        """Sends `text` and prints the answer. A failed exchange is removed, a stopped one stays."""
        content: Any = text
        if self.images:
            content = [{"type": "text", "text": text}]
            content += [{"type": "image_url", "image_url": {"url": url}} for url in self.images]
        self.messages.append({"role": "user", "content": content})
        answer = self.last = self._answer()
        if answer.error is not None:
            self.messages.pop()
        else:
            self.images = []
            if answer.text:
                self.messages.append({"role": "assistant", "content": answer.text})
        return answer

    def retry(self) -> ChatAnswer | None:
        """Sends the last question again. Returns None without one."""
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        if not self.messages or self.messages[-1]["role"] != "user":
            return None
        content = self.messages.pop()["content"]
        if isinstance(content, str):
            return self.ask(content)
        self.images = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        return self.ask(content[0]["text"])

    def _answer(self) -> ChatAnswer:
        body = {
            "model": self.alias,
            "messages": self.messages,
            "stream_options": {"include_usage": True},
            **self.wishes,
        }
        answer, writer = ChatAnswer(), TerminalAnswer(thoughts=self.thoughts)
        try:
            with LoadingLine(self.client, self.alias) as waiting:
                self._hear(body, answer, writer, waiting)
        except UpstreamError as error:
            answer.error = str(error)
        except KeyboardInterrupt:
            answer.stopped = True
        self._finish(answer, writer)
        return answer

    def _hear(self, body: dict[str, Any], answer: ChatAnswer, writer: TerminalAnswer, waiting: LoadingLine) -> None:
        calls: dict[int, list[str]] = {}
        first: float | None = None
        for event in self.client.stream(body):
            if isinstance(event, str):
                waiting.note(event)
                continue
            if "error" in event:
                raise UpstreamError(error_words(event["error"]))
            for choice in event.get("choices") or ():
                delta = choice.get("delta") or {}
                thought = delta.get("reasoning_content") or delta.get("reasoning")
                if thought or delta.get("content") or delta.get("tool_calls"):
                    waiting.heard()
                    first = first or time.monotonic()
                if thought:
                    writer.think(str(thought))
                if delta.get("content"):
                    answer.text += delta["content"]
                    writer.say(delta["content"])
                _add_calls(calls, delta.get("tool_calls") or ())
                answer.finish = choice.get("finish_reason") or answer.finish
                answer.tools = [f"{name}({arguments})" for name, arguments in calls.values()]
            _read_figures(answer, event, 0.0 if first is None else time.monotonic() - first)

    def _finish(self, answer: ChatAnswer, writer: TerminalAnswer) -> None:
        interactive = is_terminal(sys.stdin)
        if answer.text or not (answer.error or answer.stopped or answer.tools) or is_terminal(sys.stdout):
            writer.end(empty=answer.error is None)
        if answer.stopped:
            print("(stopped)", file=sys.stdout if interactive else sys.stderr)
        elif answer.error is not None:
            words = wrapped(one_line_each(answer.error), sys.stderr)
            print(paint(words, "red", stream=sys.stderr), file=sys.stderr)
        elif answer.finish == "length":
            limit = (
                "max_tokens or the context" if self.wishes.get("max_tokens") else "the limit of tokens or the context"
            )
            words = wrapped(f"(cut off by {limit}; the answer is incomplete)", sys.stderr)
            print(paint(words, "yellow", stream=sys.stderr), file=sys.stderr)
        for call in answer.tools:
            print(wrapped(f"(the model calls a tool: {one_line(call)})", sys.stderr), file=sys.stderr)


def one_line_each(text: str) -> str:
    """Returns the lines of an error, with visible control characters."""
    return "\n".join(map(one_line, text.splitlines()))


def _add_calls(calls: dict[int, list[str]], pieces: Any) -> None:
    for piece in pieces:
        function = piece.get("function") or {}
        call = calls.setdefault(piece.get("index", len(calls)), ["", ""])
        call[0] += function.get("name") or ""
        arguments = function.get("arguments") or ""
        call[1] += arguments if isinstance(arguments, str) else json.dumps(arguments)


def _read_figures(answer: ChatAnswer, event: dict[str, Any], seconds: float) -> None:
    timings, usage = event.get("timings"), event.get("usage")
    if isinstance(usage, dict) and isinstance(count := usage.get("completion_tokens"), int):
        answer.tokens = count
        if answer.speed is None and count > 1 and seconds > 0:
            answer.speed = (count - 1) / seconds
    if isinstance(timings, dict):
        answer.tokens = timings.get("predicted_n", answer.tokens)
        answer.speed = timings.get("predicted_per_second", answer.speed)
        answer.drafted = timings.get("draft_n") or answer.drafted
        answer.accepted = timings.get("draft_n_accepted") or answer.accepted
