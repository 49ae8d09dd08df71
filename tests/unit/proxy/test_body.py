"""Bodies: limits, routing, and the exchange of `model`."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BodyTooLarge, InvalidBody
from app.proxy.body import ClientGone, read_body, routing, with_model


def receiving(*messages: dict[str, Any]) -> Any:
    queue = list(messages)

    async def receive() -> dict[str, Any]:
        return queue.pop(0)

    return receive


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_chunks_are_joined() -> None:
    """A body that arrives in pieces is the pieces joined."""
    assert asyncio.run(read_body(receiving(part(b"ab"), part(b"c", more=False)), None, 10)) == b"abc"


def test_declared_length_over_the_limit_is_refused_unread() -> None:
    """Content-Length alone is reason enough: nothing is received."""
    with pytest.raises(BodyTooLarge, match="max_body_mb"):
        asyncio.run(read_body(receiving(), 11, 10))


def test_undeclared_body_is_refused_as_soon_as_it_is_too_long() -> None:
    """A chunked body is not read to its end to find that it is too long."""
    endless = [part(b"x" * 6)] * 3
    with pytest.raises(BodyTooLarge):
        asyncio.run(read_body(receiving(*endless), None, 10))


def test_client_that_leaves_while_uploading_is_no_error() -> None:
    """A disconnect in the body ends the request without an answer."""
    with pytest.raises(ClientGone):
        asyncio.run(read_body(receiving(part(b"{"), {"type": "http.disconnect"}), None, 10))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not valid JSON"),
        (b"nonsense", "not valid JSON"),
        (b"[]", "JSON object"),
        (b'"text"', "JSON object"),
        (b'{"model": 5}', "'model' must be a string"),
        (b'{"stream": "yes"}', "'stream' must be true or false"),
        (b"[" * 100_000, "."),
        (b'{"a": "\xff"}', "."),
    ],
)
def test_bad_bodies_are_named(body: bytes, words: str) -> None:
    """Each kind of bad body raises InvalidBody that says what is wrong."""
    try:
        routing(body)
    except InvalidBody as error:
        assert words in str(error)
    else:
        # bytes that are no UTF-8 in a field that we do not read are the engine's to judge
        assert b"\xff" in body


def test_only_routing_fields_are_read() -> None:
    """`model` and `stream` are decoded; null counts as not given."""
    fields = routing(b'{"model": "a/b", "stream": true, "messages": [{"model": "no"}]}')
    assert (fields.model, fields.stream) == ("a/b", True)
    assert routing(b'{"model": null, "stream": null}').model is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4), st.none() | st.text(max_size=8), st.integers(0, 2))
def test_only_the_models_value_is_exchanged(others: dict[str, Any], old: str | None, indent: int) -> None:
    """Whatever else stands in the body, at whatever depth, is as it was; the top-level model is the new name."""
    body = {**others, "model": old, "nested": {"model": "kept", "text": '"model": "kept"'}}
    changed = json.loads(with_model(json.dumps(body, indent=indent or None).encode(), "up/stream"))
    assert changed == {**body, "model": "up/stream"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "a" : 1 , "model" : "x" }', b'{ "a" : 1 , "model" : "new" }'),
        (b"{}", b'{"model":"new"}'),
        (b'{"a": [1, 2]}', b'{"model":"new","a": [1, 2]}'),
        (b'{"model": "x", "model": "y"}', b'{"model": "new", "model": "new"}'),
        (b'{"m\\u006fdel": "x"}', b'{"m\\u006fdel": "new"}'),
    ],
)
def test_every_other_byte_stays(body: bytes, expected: bytes) -> None:
    """White space, order and a key written twice are kept as the client wrote them."""
    assert with_model(body, "new") == expected
