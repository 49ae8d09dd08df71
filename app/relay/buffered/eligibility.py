"""Which whole answers are asked for as streams, and how.

llama-server notices at its next write that a stream's client has left; whoever waits for a whole answer may leave
unnoticed as long as anything else runs (b11434: `recv_with_timeout` begins its second anew at every result).

A stream does not tell all that a whole answer does; the cases in `_aids` were read in `server-task.cpp` and
`server-context.cpp` and seen on runs. For most there is a field that makes a stream tell more, and the stream shows
whether it has; the rest is relayed as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from app.relay.buffered.choice import Aids
from app.relay.request.json_decode import crowded
from app.relay.request.json_edit import edited

_CHAT = frozenset(("/v1/chat/completions", "/chat/completions"))
_COMPLETIONS = frozenset(("/v1/completions",))
# With `timings_per_token` each piece tells how many tokens it goes up to: so the end shows whether all of it was told.
_ADDED = {"stream": b"true", "stream_options": b'{"include_usage":true}', "timings_per_token": b"true"}


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body that asks for a stream, and what it asks for besides."""

    body: bytes
    aids: Aids


class _ChatMessage(msgspec.Struct, gc=False):
    role: Any = None
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Request(msgspec.Struct):
    """What decides; everything else in the body is the engine's business."""

    messages: list[_ChatMessage] = []
    stop: Any = None
    stream_options: Any = None
    continue_final_message: Any = None
    post_sampling_probs: Any = None
    verbose: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    n_probs: Any = None
    n_indent: Any = None
    timings_per_token: Any = None


# Of each token; OpenAI's clients may ask for 20.
MOST_PROBABILITIES = 100

_DECODER = msgspec.json.Decoder(_Request)
_TEXT = msgspec.json.Decoder(str)


def as_stream(target: str, body: bytes | None, *, drafts: bool) -> Streamed | None:
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
    aids = _aids(request, chat=path in _CHAT, drafts=drafts)
    return None if aids is None else Streamed(edited(body, _fields(aids)), aids)


def _fields(aids: Aids) -> dict[str, bytes]:
    added = dict(_ADDED)
    if aids.probabilities:
        added["verbose"] = b"true"
    if aids.prefill:
        added["echo"] = b"true"
    return added


def _aids(request: _Request, *, chat: bool, drafts: bool) -> Aids | None:
    """What makes a stream tell all of it; None where nothing does."""
    # (1) A malformed option of streams is refused by the engine only where the client's own arrives.
    if not _well_formed(request.stream_options) or not isinstance(request.timings_per_token, bool | None):
        return None
    # (2) `__verbose` repeats the settings, `stream` among them; `n_indent` takes back what a stream has sent.
    if request.verbose or request.n_indent:
        return None
    # (3) A prefilled answer comes back with its beginning, which a stream may leave out unless it is asked for.
    prefill = ""
    if request.continue_final_message or (chat and request.messages and request.messages[-1].role == "assistant"):
        prefill = _prefill(request)
        if not chat or not prefill:
            return None
    probabilities = (request.logprobs, request.top_logprobs, request.n_probs)
    if not any(probabilities):
        return Aids(prefill=prefill)
    # (4) Chat tells no probability of a token that shows no text, such as the last one. Completions do; but those of a
    #     stop word are taken off whole answers only, and those of drafted tokens are left out of streams.
    #     Whoever asks for a whole vocabulary of them gets it as it comes: here it would take gigabytes.
    if chat or any(isinstance(number, int | float) and number > MOST_PROBABILITIES for number in probabilities):
        return None
    missing, post_sampling = bool(request.stop or drafts), request.post_sampling_probs is True
    return Aids(probabilities=missing, post_sampling=post_sampling)


def _prefill(request: _Request) -> str:
    """Empty where it is no mere text."""
    last = request.messages[-1] if request.messages else _ChatMessage()
    try:
        return _TEXT.decode(last.content) if last.role == "assistant" else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _well_formed(options: Any) -> bool:
    if options is None:
        return True
    return isinstance(options, dict) and isinstance(options.get("include_usage"), bool | None)
