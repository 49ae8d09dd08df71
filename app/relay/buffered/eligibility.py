"""Which whole answers are asked for as streams.

llama-server notices at its next write that a stream's client has left; whoever waits for a whole answer may leave
unnoticed as long as anything else runs (b11434: `recv_with_timeout` begins its second anew at every result).

A stream does not tell all that a whole answer does. Where that depends on rare fields of the request, the request is
relayed as it is (ADR 4).
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.relay.request.json_decode import crowded
from app.relay.request.json_edit import edited

_CHAT = frozenset(("/v1/chat/completions", "/chat/completions"))
_COMPLETIONS = frozenset(("/v1/completions",))
# With `timings_per_token` each piece tells how many tokens it goes up to: so the end shows whether all of it was told.
_ADDED = {"stream": b"true", "stream_options": b'{"include_usage":true}', "timings_per_token": b"true"}


class _ChatMessage(msgspec.Struct, gc=False):
    role: Any = None


class _Request(msgspec.Struct):
    """What decides; everything else in the body is the engine's business."""

    messages: list[_ChatMessage] = []
    stop: Any = None
    stream_options: Any = None
    continue_final_message: Any = None
    verbose: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    n_probs: Any = None
    n_indent: Any = None
    timings_per_token: Any = None


# Of each token; OpenAI's clients may ask for 20.
MOST_PROBABILITIES = 100

_DECODER = msgspec.json.Decoder(_Request)


def as_stream(target: str, body: bytes | None, *, drafts: bool) -> bytes | None:
    """The body that asks for the same as a stream; None for what has to be asked for as it is.

    `target` is path and query; `drafts` says that the engine speculates.
    """
    path = target.partition("?")[0]
    if body is None or path not in _CHAT | _COMPLETIONS or crowded(body):
        return None  # a crowd takes too much memory to be looked at
    try:
        request = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the engine has its own words for it
    return edited(body, _ADDED) if _told_in_full(request, chat=path in _CHAT, drafts=drafts) else None


def _told_in_full(request: _Request, *, chat: bool, drafts: bool) -> bool:
    """Whether a stream tells all that a direct answer does."""
    # (1) A malformed option of streams is refused by the engine only where the client's own arrives.
    if not _well_formed(request.stream_options) or not isinstance(request.timings_per_token, bool | None):
        return False
    # (2) `__verbose` repeats the settings, `stream` among them; `n_indent` takes back what a stream has sent.
    if request.verbose or request.n_indent:
        return False
    # (3) A prefilled answer comes back with its beginning, which a stream leaves out.
    if request.continue_final_message or (chat and request.messages and request.messages[-1].role == "assistant"):
        return False
    # (4) Chat tells no probability of a token that shows no text, such as the last one. Completions do; but those of a
    #     stop word are taken off whole answers only, and those of drafted tokens are left out of streams.
    if request.top_logprobs or request.n_probs or (request.logprobs and (chat or request.stop or drafts)):
        return False
    #     Whoever asks for a whole vocabulary of them gets it as it comes: here it would take gigabytes.
    return not (isinstance(request.logprobs, int | float) and request.logprobs > MOST_PROBABILITIES)


def _well_formed(options: Any) -> bool:
    if options is None:
        return True
    return isinstance(options, dict) and isinstance(options.get("include_usage"), bool | None)
