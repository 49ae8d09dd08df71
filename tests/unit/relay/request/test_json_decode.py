"""JSON of any size as objects: what is taken, what is refused, and how much memory that takes."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from app.api.ollama.request import translate
from app.errors import InvalidBodyError
from app.relay.buffered.eligibility import as_stream
from app.relay.request.body import routing
from app.relay.request.json_decode import MOST_VALUES, crowded, decoded
from app.relay.request.media import find

LARGEST = 2**26


def media(body: bytes) -> None:
    fields = routing(body)
    find(fields.messages, input=fields.input, query=fields.query, documents=fields.documents)


READERS: list[Callable[[bytes], object]] = [
    media,
    lambda body: as_stream("/v1/chat/completions", body, routing(body), drafts=False),
    lambda body: translate("/api/chat", body),
]


@pytest.mark.parametrize("read", READERS, ids=["media", "as_stream", "ollama"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"messages":[', b"{}]}"),
        (b'{"messages":[{"content":[', b"{}]}]}"),
        (b'{"messages":[],"stop":[', b"{}]}"),
        (b'{"messages":[],"logprobs":[', b"{}]}"),
        (b'{"messages":[],"options":{"stop":[', b"{}]}}"),
        (b'{"input":[', b"{}]}"),
    ],
    ids=["messages", "parts", "stop", "logprobs", "options", "input"],
)
def test_a_body_of_tiny_objects_takes_no_more_than_a_few_of_its_size(
    read: Callable[[bytes], object], before: bytes, after: bytes
) -> None:
    """64 MiB of them; as Python objects they would be more than a gigabyte."""
    # Three bytes each, and seventy as an object
    body = before + b"{}," * (LARGEST // 3 - 100) + after
    tracemalloc.start()
    with suppress(InvalidBodyError):
        read(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LARGEST


def test_text_of_any_size_is_no_crowd() -> None:
    """A conversation as long as a body may be, in one message."""
    media(b'{"messages":[{"role":"user","content":"' + b"well, then [1] " * (LARGEST // 15 - 100) + b'"}]}')
    assert not crowded(b'"' + b"some sixty bytes of prose, of which one is a comma, and so on" * 1_000_000 + b'"')


def test_as_many_values_as_a_model_might_read_are_decoded() -> None:
    """And one more is refused in words."""
    assert len(decoded(b"[" + b"1," * (MOST_VALUES - 2) + b"1]")) == MOST_VALUES - 1
    with pytest.raises(InvalidBodyError, match="2000000 values"):
        decoded(b"[" + b"1," * MOST_VALUES + b"1]")


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000, b""])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(InvalidBodyError, match="not valid JSON"):
        decoded(text)
