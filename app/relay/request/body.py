"""Reads a request body once, within a limit, and decodes only the fields that routing needs."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Container, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import msgspec

from app.errors import BodyTooLargeError, InvalidBodyError
from app.relay.request.field_types import DECODED_AS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class ClientDisconnectedError(Exception):
    """The client closed its connection, so no answer can reach it."""


NULL = msgspec.Raw(b"null")
_NOT_ASKED_FOR = frozenset((b"null", b"false", b"0", b"0.0", b'""', b"[]", b"{}"))


class Routing(msgspec.Struct, frozen=True, gc=False):
    """The fields that the relay reads, in one pass over the body. All other fields concern the engine only.

    Fields of type `Raw` stay bytes until a reader decodes them.
    """

    model: str | None = None
    stream: bool | None = None
    # The relay only needs to know whether these are set, so their types and limits are left to the engine.
    logprobs: msgspec.Raw = NULL
    top_logprobs: msgspec.Raw = NULL
    n_probs: msgspec.Raw = NULL
    # Fields that may name media. They stay bytes, so a long conversation costs nothing here.
    messages: msgspec.Raw = NULL
    input: msgspec.Raw = NULL
    query: msgspec.Raw = NULL
    documents: msgspec.Raw = NULL
    # Fields that decide whether a stream has all of an answer (see `buffered.eligibility`)
    stop: msgspec.Raw = NULL
    stream_options: msgspec.Raw = NULL
    continue_final_message: msgspec.Raw = NULL
    verbose: msgspec.Raw = NULL
    n_indent: msgspec.Raw = NULL
    timings_per_token: msgspec.Raw = NULL
    # Fields that may need an amendment (`relay/amendments`)
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

    @property
    def wants_logprobs(self) -> bool:
        """Whether the request wants log probabilities of generated tokens, by OpenAI's or llama-server's fields."""
        return _asked_for(self.logprobs) or _asked_for(self.top_logprobs) or _asked_for(self.n_probs)

    def edited(self, values: Mapping[str, bytes], drop: Container[str]) -> Routing:
        """Returns the routing of the same body after `json_edit.edited`, which leaves `model` and `stream`
        unchanged."""
        changes = {name: msgspec.Raw(values[name]) for name in KEPT_AS_BYTES if name in values}
        changes |= {name: NULL for name in KEPT_AS_BYTES if name in drop and name not in values}
        return msgspec.structs.replace(self, **changes) if changes else self


def _asked_for(field: msgspec.Raw) -> bool:
    return field is not NULL and bytes(memoryview(field)[:8]) not in _NOT_ASKED_FOR


# The relay reads no other field. The decoder only compares their types with those that the engine expects.
_TypedRouting = msgspec.defstruct(
    "_TypedRouting",
    [(name, kind, None) for name, kind in DECODED_AS.items() if name not in Routing.__struct_fields__],
    bases=(Routing,),
    frozen=True,
    gc=False,
)
_TYPED_DECODER: msgspec.json.Decoder[Routing] = msgspec.json.Decoder(_TypedRouting)
_DECODER = msgspec.json.Decoder(Routing)
KEPT_AS_BYTES = tuple(field.name for field in msgspec.structs.fields(Routing) if field.type is msgspec.Raw)


async def read_body(receive: Receive, declared: int | None, limit: int) -> bytes:
    """Returns the whole body. Raises BodyTooLargeError as soon as it exceeds the limit, or ClientDisconnectedError."""
    if declared is not None and declared > limit:
        raise BodyTooLargeError(_too_large(limit))
    # Grows without a copy of the whole at the end
    body = io.BytesIO()
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLargeError(_too_large(limit))
        if not message.get("more_body", False) and size == len(chunk):
            return chunk
        body.write(chunk)
        if not message.get("more_body", False):
            return body.getvalue()


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit / 2**20:g} MiB; max_body_mb in tandem.yaml sets the limit."


def types_are_known(fields: Routing) -> bool:
    """Tells whether every field of the body has a type that the engine expects."""
    return type(fields) is _TypedRouting


def routing(body: bytes) -> Routing:
    """Decodes the routing fields of a body. Raises InvalidBodyError, whose text is for the client."""
    if not body.strip():
        raise InvalidBodyError("The body is empty; it must be a JSON object.")
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _TYPED_DECODER.decode(body)
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
