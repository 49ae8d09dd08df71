"""Which whole answers are asked for as streams.

llama-server notices at its next write that a stream's client has left; whoever waits for a whole answer may leave
unnoticed as long as anything else runs (b11434: `recv_with_timeout` begins its second anew at every result).

A stream does not tell all that a whole answer does. Where that depends on rare fields of the request, the request is
relayed as it is (ADR 4).
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.relay.request.body import NULL, Routing
from app.relay.request.json_decode import crowded
from app.relay.request.json_edit import edited

_CHAT = frozenset(("/v1/chat/completions", "/chat/completions"))
_COMPLETIONS = frozenset(("/v1/completions",))
# With `timings_per_token` each piece tells how many tokens it goes up to: so the end shows whether all of it was told.
_ADDED = {"stream": b"true", "stream_options": b'{"include_usage":true}', "timings_per_token": b"true"}


class _ChatMessage(msgspec.Struct, gc=False):
    role: Any = None


# Of each token; OpenAI's clients may ask for 20.
MOST_PROBABILITIES = 100

_MESSAGES = msgspec.json.Decoder(list[_ChatMessage])


def as_stream(target: str, body: bytes | None, fields: Routing, *, drafts: bool) -> bytes | None:
    """The body that asks for the same as a stream; None for what has to be asked for as it is.

    `target` is path and query, `fields` are those of the body; `drafts` says that the engine speculates.
    """
    path = target.partition("?")[0]
    if body is None or path not in _CHAT | _COMPLETIONS or crowded(body):
        return None  # a crowd takes too much memory to be looked at
    try:
        told = _told_in_full(fields, chat=path in _CHAT, drafts=drafts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the engine has its own words for it
    return edited(body, _ADDED) if told else None


def _told_in_full(fields: Routing, *, chat: bool, drafts: bool) -> bool:
    """Whether a stream tells all that a direct answer does; raises what decoding raises."""
    # (1) A malformed option of streams is refused by the engine only where the client's own arrives.
    if not _well_formed(_value(fields.stream_options)) or not isinstance(_value(fields.timings_per_token), bool | None):
        return False
    # (2) `__verbose` repeats the settings, `stream` among them; `n_indent` takes back what a stream has sent.
    if _value(fields.verbose) or _value(fields.n_indent):
        return False
    # (3) A prefilled answer comes back with its beginning, which a stream leaves out.
    messages = [] if fields.messages is NULL else _MESSAGES.decode(fields.messages)
    if _value(fields.continue_final_message) or (chat and messages and messages[-1].role == "assistant"):
        return False
    # (4) Chat tells no probability of a token that shows no text, such as the last one. Completions do; but those of a
    #     stop word are taken off whole answers only, and those of drafted tokens are left out of streams.
    logprobs = _value(fields.logprobs)
    if _value(fields.top_logprobs) or _value(fields.n_probs):
        return False
    if logprobs and (chat or drafts or _value(fields.stop)):
        return False
    #     Whoever asks for a whole vocabulary of them gets it as it comes: here it would take gigabytes.
    return not (isinstance(logprobs, int | float) and logprobs > MOST_PROBABILITIES)


def _value(field: msgspec.Raw) -> Any:
    return None if field is NULL else msgspec.json.decode(field)


def _well_formed(options: Any) -> bool:
    if options is None:
        return True
    return isinstance(options, dict) and isinstance(options.get("include_usage"), bool | None)
