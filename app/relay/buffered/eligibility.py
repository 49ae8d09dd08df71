"""Decides whether a whole answer is requested from the engine as a stream.

llama-server notices at its next write that the client of a stream has left. With a whole answer it may never notice
while other requests run (b11434: `recv_with_timeout` restarts its timeout of a second at every result).

A stream lacks some fields of a whole answer. A request that asks for one of these is relayed unchanged (ADR 4).
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.relay.request.body import NULL, Routing
from app.relay.request.json_decode import crowded
from app.relay.request.json_edit import Field, edited

_CHAT = frozenset(("/v1/chat/completions", "/chat/completions"))
_COMPLETIONS = frozenset(("/v1/completions",))
# With `timings_per_token` each piece has its token count, so the end shows whether a token is missing.
_ADDED = {"stream": b"true", "stream_options": b'{"include_usage":true}', "timings_per_token": b"true"}


class _ChatMessage(msgspec.Struct, gc=False):
    role: Any = None


# Per token. OpenAI's clients may ask for 20.
MOST_PROBABILITIES = 100

_MESSAGES = msgspec.json.Decoder(list[_ChatMessage])


def as_stream(target: str, body: bytes | None, fields: Routing, *, drafts: bool) -> bytes | None:
    """Returns the body that requests the same answer as a stream, or None if the request must be relayed unchanged.

    `target` is path and query. `fields` are the fields of the body. `drafts` tells whether the engine speculates.
    """
    if body is None or not stream_is_complete(target, body, fields, drafts=drafts):
        return None
    return asked_as_stream(body)


def asked_as_stream(body: bytes, fields: list[Field] | None = None) -> bytes:
    """Returns the body that requests the answer as a stream. `fields` are those of the body, if they are known."""
    return edited(body, _ADDED, fields=fields)


def assembled_at(path: str) -> bool:
    """Tells whether answers of this path can be assembled."""
    return path in _CHAT or path in _COMPLETIONS


def stream_is_complete(target: str, body: bytes, fields: Routing, *, drafts: bool) -> bool:
    """Tells whether a stream has everything that an answer in one piece has."""
    path = target.partition("?")[0]
    if not assembled_at(path) or crowded(body):
        return False  # So many values would take too much memory to decode
    try:
        return _stream_is_complete(fields, chat=path in _CHAT, drafts=drafts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # The engine's own error is better


def _stream_is_complete(fields: Routing, *, chat: bool, drafts: bool) -> bool:
    """Tells whether a stream has everything that a direct answer has. Raises the errors of decoding."""
    # (1) The engine rejects malformed `stream_options` only if it gets the client's own.
    if not _well_formed(_value(fields.stream_options)) or not isinstance(_value(fields.timings_per_token), bool | None):
        return False
    # (2) `__verbose` repeats the settings, `stream` included. `n_indent` removes text that a stream has already sent.
    if _value(fields.verbose) or _value(fields.n_indent):
        return False
    # (3) A direct answer repeats the prefilled beginning. A stream does not.
    messages = [] if fields.messages is NULL else _MESSAGES.decode(fields.messages)
    if _value(fields.continue_final_message) or (chat and messages and messages[-1].role == "assistant"):
        return False
    # (4) Chat omits the probability of a token without text, such as the last one. Completions have it. But only whole
    #     answers drop the probabilities of a stop word, and streams omit those of drafted tokens. Probabilities of a
    #     whole vocabulary would take gigabytes here.
    logprobs = _value(fields.logprobs)
    if _value(fields.top_logprobs) or _value(fields.n_probs):
        return False
    if logprobs and (chat or drafts or _value(fields.stop)):
        return False
    return not (isinstance(logprobs, int | float) and logprobs > MOST_PROBABILITIES)


def _value(field: msgspec.Raw) -> Any:
    return None if field is NULL else msgspec.json.decode(field)


def _well_formed(options: Any) -> bool:
    if options is None:
        return True
    return isinstance(options, dict) and isinstance(options.get("include_usage"), bool | None)
