"""A request's body: read once, within a limit, decoded only as far as routing needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, MutableMapping
from typing import Any

import msgspec

from app.errors import BodyTooLargeError, InvalidBodyError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ClientDisconnectedError(Exception):
    """The client closed its connection: nobody is left to answer."""


NULL = msgspec.Raw(b"null")
_NOT_ASKED_FOR = frozenset((b"null", b"false", b"0", b"0.0", b'""', b"[]", b"{}"))


class Routing(msgspec.Struct, frozen=True, gc=False):
    """The fields that the relay reads, in one pass over the body; everything else in it is the engine's business.

    What is kept as bytes is decoded by those who need it, and only then.
    """

    model: str | None = None
    stream: bool | None = None
    # Of the engine's types and limits, whatever they are: only whether they are asked for matters here.
    logprobs: msgspec.Raw = NULL
    top_logprobs: msgspec.Raw = NULL
    n_probs: msgspec.Raw = NULL
    # Where media may be named; kept as bytes, so that a long conversation costs nothing here.
    messages: msgspec.Raw = NULL
    input: msgspec.Raw = NULL
    query: msgspec.Raw = NULL
    documents: msgspec.Raw = NULL
    # What decides whether a stream tells all of an answer (see `buffered.eligibility`)
    stop: msgspec.Raw = NULL
    stream_options: msgspec.Raw = NULL
    continue_final_message: msgspec.Raw = NULL
    verbose: msgspec.Raw = NULL
    n_indent: msgspec.Raw = NULL
    timings_per_token: msgspec.Raw = NULL
    # What may have to be amended (`relay/amendments`)
    n: msgspec.Raw = NULL
    prompt: msgspec.Raw = NULL
    tools: msgspec.Raw = NULL
    tool_choice: msgspec.Raw = NULL
    response_format: msgspec.Raw = NULL
    functions: msgspec.Raw = NULL
    function_call: msgspec.Raw = NULL
    dimensions: msgspec.Raw = NULL
    echo: msgspec.Raw = NULL
    best_of: msgspec.Raw = NULL
    suffix: msgspec.Raw = NULL
    max_tokens: msgspec.Raw = NULL

    @property
    def wants_logprobs(self) -> bool:
        """Log probabilities of generated tokens, in OpenAI's words or in llama-server's."""
        return _asked_for(self.logprobs) or _asked_for(self.top_logprobs) or _asked_for(self.n_probs)

    def edited(self, values: Mapping[str, bytes], drop: Container[str]) -> Routing:
        """Of the same body after `json_edit.edited`, which leaves `model` and `stream` alone."""
        changes = {name: msgspec.Raw(values[name]) for name in _KEPT_AS_BYTES if name in values}
        changes |= {name: NULL for name in _KEPT_AS_BYTES if name in drop and name not in values}
        return msgspec.structs.replace(self, **changes) if changes else self


def _asked_for(field: msgspec.Raw) -> bool:
    return field is not NULL and bytes(memoryview(field)[:8]) not in _NOT_ASKED_FOR


_DECODER = msgspec.json.Decoder(Routing)
_KEPT_AS_BYTES = tuple(field.name for field in msgspec.structs.fields(Routing) if field.type is msgspec.Raw)


async def read_body(receive: Receive, declared: int | None, limit: int) -> bytes:
    """The whole body; raises BodyTooLargeError before it is read whole, or ClientDisconnectedError."""
    if declared is not None and declared > limit:
        raise BodyTooLargeError(_too_large(limit))
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(_too_large(limit))
        if not message.get("more_body", False):
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit / 2**20:g} MiB; max_body_mb in tandem.yaml sets the limit."


def routing(body: bytes) -> Routing:
    """Raises InvalidBodyError in words for a client."""
    if not body.strip():
        raise InvalidBodyError("The body is empty; it must be a JSON object.")
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        for field, kind in (("model", "a string"), ("stream", "true or false")):
            if f"$.{field}" in text:
                raise InvalidBodyError(f"'{field}' must be {kind}.", param=field) from None
        raise InvalidBodyError("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(f"The body is not valid JSON: {error}.") from None
