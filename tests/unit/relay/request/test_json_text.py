from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidBodyError
from app.relay.request.json_text import readable, without_bom


def test_a_body_that_needs_nothing_is_the_same_object() -> None:
    for text in ('{"a": "\\n \\ud83d\\ude00"}', '{"a": "häuser 😀"}'):
        body = text.encode()
        assert readable(body) is body


def test_a_byte_order_mark_is_left_out() -> None:
    assert readable(b'\xef\xbb\xbf{"a": 1}') == b'{"a": 1}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b'{"a": "\xff"}', "0xff at offset 7"),
        (b'{"a": "' + b"\xc3\xa9" * 50_000 + b'\xed\xa0\x80"}', "0xed at offset 100007"),  # a half in bytes
        (b'{"a": "\xc3', "0xc3 at offset 7"),
    ],
)
def test_what_is_not_utf_8_is_refused_with_its_place(body: bytes, words: str) -> None:
    with pytest.raises(InvalidBodyError, match=words):
        readable(body)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00x", "\ufffdx"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83d\ude00\ude00", "😀\ufffd"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud83dA", "\ufffdA"),
    ],
)
def test_half_a_pair_is_replaced(text: str, right: str) -> None:
    body = readable(f'{{"a": "{text}"}}'.encode())
    assert json.loads(body)["a"] == right
    json.dumps(json.loads(body), ensure_ascii=False).encode()


@given(st.text(st.characters(codec=None), max_size=20))
def test_every_text_becomes_one_that_has_an_encoding(text: str) -> None:
    """Of Python's texts, halves included: the same but for U+FFFD."""
    body = readable(json.dumps({"a": text}).encode())
    pairs = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert len(json.loads(body)["a"].encode()) == len(pairs.encode())


@pytest.mark.parametrize(
    "pieces", [(b"\xef\xbb\xbf{", b"}"), (b"", b"\xef\xbb\xbf{}"), (b"{}",), (b"{", b"\xef\xbb\xbf}")]
)
def test_a_mark_at_the_beginning_of_a_body_in_pieces_is_dropped(pieces: tuple[bytes, ...]) -> None:
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive() -> Any:
        return waiting.pop(0)

    async def all_of_it() -> bytes:
        read = without_bom(receive)
        return b"".join([(await read())["body"] for _ in pieces])

    assert asyncio.run(all_of_it()) == b"".join(pieces).removeprefix(b"\xef\xbb\xbf")
