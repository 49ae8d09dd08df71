"""Bodies: limits, and what routing reads."""

import asyncio
from typing import Any

import pytest

from app.errors import BodyTooLargeError, InvalidBodyError
from app.relay.request.body import ClientDisconnectedError, read_body, routing


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
    with pytest.raises(BodyTooLargeError, match="max_body_mb"):
        asyncio.run(read_body(receiving(), 11, 10))


def test_undeclared_body_is_refused_as_soon_as_it_is_too_long() -> None:
    """A chunked body is not read to its end to find that it is too long."""
    endless = [part(b"x" * 6)] * 3
    with pytest.raises(BodyTooLargeError):
        asyncio.run(read_body(receiving(*endless), None, 10))


def test_client_that_leaves_while_uploading_is_no_error() -> None:
    """A disconnect in the body ends the request without an answer."""
    with pytest.raises(ClientDisconnectedError):
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
    """Each kind of bad body raises InvalidBodyError that says what is wrong."""
    try:
        routing(body)
    except InvalidBodyError as error:
        assert words in str(error)
    else:
        # bytes that are no UTF-8 in a field that we do not read are the engine's to judge
        assert b"\xff" in body


def test_only_routing_fields_are_read() -> None:
    """`model` and `stream` are decoded; null counts as not given."""
    fields = routing(b'{"model": "a/b", "stream": true, "messages": [{"model": "no"}]}')
    assert (fields.model, fields.stream) == ("a/b", True)
    assert routing(b'{"model": null, "stream": null}').model is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("null", False), ("false", False), ("0", False), ("[]", False), ("true", True), ("1", True), ("[[0]]", True)],
)
@pytest.mark.parametrize("name", ["logprobs", "top_logprobs", "n_probs"])
def test_log_probabilities_are_asked_for_or_not(name: str, value: str, expected: bool) -> None:
    """By whichever name, and of whatever type: the engine's to judge."""
    assert routing(f'{{"{name}": {value} }}'.encode()).wants_logprobs == expected
