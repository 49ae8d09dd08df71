"""Bodies of the last requests, if the setting `captures` is on: in memory, cut, and without secrets.

They are the bodies to and from the upstream, so a translated request is stored as the engine gets it. A stream is
stored as its text, since a secret may span several events.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# Of one body, in bytes
LARGEST = 256 << 10
REDACTED = "[redacted]"
# Shorter ones would be found in ordinary words
_SHORTEST_SECRET = 8

_SECRETS = re.compile(
    # Keys of this gateway, of providers of models, code, packages, chats and payments
    r"\b(?:lt-|sk-|hf_|gsk_|xai-|r8_|gh[pousr]_|github_pat_|glpat-|npm_|pypi-|xox[abprs]-|AIza|[sr]k_live_)[\w-]{16,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    # JSON Web Tokens; private keys
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    # What follows the name of a scheme; a password in an address
    r"|(?<=Bearer )[^\s\"'\\]{8,}|(?<=Basic )[A-Za-z0-9+/=]{8,}|(?<=://)[^\s/@:\"']+:[^\s/@\"']+(?=@)",
    re.DOTALL,
)
_NAMED = re.compile(
    r"(?P<name>\\?[\"']?(?<![\w-])[\w-]{0,40}(?:(?:api|private|access|account|signing)[_-]?key|authorization|password|passwd|passphrase|pwd"
    r"|secret|credentials?|(?:access|auth|refresh|session|bearer|api|bot|hf|github)[_-]?token)\b\\?[\"']?\s*[:=]\s*)"
    r"(?P<value>\\?\"(?:[^\"\\]|\\[^\"])*\\?\"|'[^']*'|[^\s,;&}\]\"'\\]+)",
    re.IGNORECASE,
)
# Tried once in a run, not at each of its characters
_MEDIA = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{2048,}={0,2}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and what came back, in bytes as they passed; each at most LARGEST, `cut` where it was more."""

    request: bytes
    response: bytes
    streamed: bool
    cut: bool


@dataclass(frozen=True, slots=True)
class Capture:
    """The same as text, to be shown."""

    request: str
    response: str
    cut: bool


class AnswerCapture:
    """Gathers one answer."""

    __slots__ = ("_kept", "cut", "streamed")

    def __init__(self) -> None:
        self._kept = bytearray()
        self.cut = self.streamed = False

    def restart(self, *, streamed: bool) -> None:
        """Another answer to the same request begins."""
        self._kept.clear()
        self.cut, self.streamed = False, streamed

    def feed(self, chunk: bytes) -> None:
        room = LARGEST - len(self._kept)
        self._kept += chunk[:room]
        self.cut = self.cut or len(chunk) > room

    def exchange(self, request: bytes | None) -> Exchange:
        body = request or b""
        cut = self.cut or len(body) > LARGEST
        return Exchange(body[:LARGEST], bytes(self._kept), self.streamed, cut)


class Captures:
    """The last `most`, by the number of the finished request; `secrets` are those that the settings hold."""

    def __init__(self, most: int = 0, secrets: Iterable[str] = ()) -> None:
        self._kept: OrderedDict[int, Exchange] = OrderedDict()
        self.configure(most, secrets)

    def configure(self, most: int, secrets: Iterable[str] = ()) -> None:
        """From now on; what is kept beyond the new number goes."""
        self.most = most
        self._secrets = sorted({text for text in secrets if len(text) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._trim()

    def begin(self) -> AnswerCapture | None:
        """For one request; None where nothing is kept."""
        return AnswerCapture() if self.most else None

    def add(self, number: int, exchange: Exchange) -> None:
        self._kept[number] = exchange
        self._trim()

    def get(self, number: int) -> Exchange | None:
        return self._kept.get(number)

    def shown(self, exchange: Exchange) -> Capture:
        """Takes milliseconds: for a thread."""
        response = _streamed_text(exchange.response) if exchange.streamed else _text(exchange.response)
        return Capture(self.redacted(_text(exchange.request)), self.redacted(response), exchange.cut)

    def redacted(self, text: str) -> str:
        """Without what looks like a secret or is one of the settings', and without the bytes of media."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _MEDIA.sub(lambda found: f"[{len(found[0])} characters of base64]", text)
        text = _SECRETS.sub(REDACTED, text)
        return _NAMED.sub(_without_value, text)

    def _trim(self) -> None:
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)


def _without_value(found: re.Match[str]) -> str:
    value = found["value"]
    quote = next((mark for mark in ('\\"', '"', "'") if value.startswith(mark)), "")
    return f"{found['name']}{quote}{REDACTED}{quote}"


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _streamed_text(content: bytes) -> str:
    """What the events of a stream say, one after the other; the bytes as they are where they are no such events."""
    pieces = list(_pieces(content))
    return "".join(pieces) if pieces else _text(content)


def _pieces(content: bytes) -> Iterator[str]:
    before = ""
    for line in content.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            for kind, piece in _said(json.loads(line[5:])):
                # Thoughts, text and tool calls are stored apart
                yield f"\n\n[{kind}]\n{piece}" if kind != before and (before or kind != "text") else piece
                before = kind


def _said(event: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(event, dict):
        return
    if "error" in event:
        yield "error", json.dumps(event["error"], ensure_ascii=False)
    if isinstance(text := event.get("content"), str) and text:
        yield "text", text
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {} if isinstance(choice, dict) else {}
        fields = (("thoughts", delta.get("reasoning_content")), ("text", delta.get("content")))
        for kind, text in (*fields, ("text", choice.get("text") if isinstance(choice, dict) else None)):
            if isinstance(text, str) and text:
                yield kind, text
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            yield "tool", f"{function.get('name') or ''}{function.get('arguments') or ''}"
