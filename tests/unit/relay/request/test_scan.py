"""Fields of a large body, found in steps: those that a decoder finds, wherever a step ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidBodyError
from app.relay.request import scan
from app.relay.request.body import routing
from app.relay.request.json_edit import MOST_FIELDS, fields_of
from app.relay.request.scan import fields_in_steps, routing_of
from app.relay.turns import at_once

TEXTS = st.text(st.sampled_from('ab"\\[]{},: é\n\u2028'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(TEXTS.map(lambda text: text[:2]), VALUES, max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(min_value=16, max_value=40),
)
def test_it_finds_what_a_decoder_finds(
    document: dict[str, Any], indent: int | None, ascii_only: bool, step: int
) -> None:
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "STEP", step)
        assert at_once(fields_in_steps(body)) == fields_of(body)


def test_it_pauses_within_each_kind_of_value() -> None:
    """No step reads more than a few KB."""
    for value in (
        '"' + "x" * 200_000 + '"',
        "[" * 50_000 + "]" * 50_000,
        "[" + '"a",' * 50_000 + "1]",
        " " * 200_000 + "1",
    ):
        steps = sum(1 for _ in fields_in_steps(f'{{"a": {value}}}'.encode()))
        assert steps >= 100_000 // scan.STEP


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The body is empty"),
        (b"[]", "must be a JSON object"),
        (b"{", "a field's name is missing at offset 1"),
        (b'{"a"', "a colon is missing at offset 4"),
        (b'{"a":', "a value is missing at offset 5"),
        (b'{"a":1', "a comma or a closing brace is missing at offset 6"),
        (b'{"a":1,}', "a field's name is missing at offset 7"),
        (b'{"a":[1', "the end of an array or object is missing at offset 7"),
        (b'{"a":"x', "the end of a text is missing at offset 7"),
        (b'{"a":1} x', "the end is missing at offset 8"),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(body: bytes, words: str) -> None:
    with pytest.raises(InvalidBodyError, match=words):
        at_once(fields_in_steps(body))


def test_more_fields_than_any_api_has_are_refused() -> None:
    body = b"{" + b",".join(b'"%d":1' % i for i in range(MOST_FIELDS + 1)) + b"}"
    with pytest.raises(InvalidBodyError, match="more than 1000 fields"):
        at_once(fields_in_steps(body))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a", "stream": true, "messages": [{"content": "x"}], "n": 2, "n": 3}',
        b'{"messages": null, "model": null}',
        b'{"stop": ["]", "}"], "model": "\\u0061"}',
    ],
)
def test_the_routing_is_that_of_a_decoder(body: bytes) -> None:
    """The last one of a repeated field counts."""
    found, right = routing_of(body, at_once(fields_in_steps(body))), routing(body)
    assert (found.model, found.stream) == (right.model, right.stream)
    for name in ("messages", "n", "stop"):
        assert bytes(getattr(found, name)) == bytes(getattr(right, name))


@pytest.mark.parametrize(("body", "field"), [(b'{"model": 1}', "model"), (b'{"stream": "yes"}', "stream")])
def test_a_field_of_another_kind_is_named(body: bytes, field: str) -> None:
    with pytest.raises(InvalidBodyError, match=f"'{field}' must be"):
        routing_of(body, at_once(fields_in_steps(body)))
