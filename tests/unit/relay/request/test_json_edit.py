"""The fields of a body: found, exchanged, added and left out, and every other byte as it was."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidBodyError
from app.relay.request.json_edit import MOST_FIELDS, edited, fields_of, with_model

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


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=6), st.integers(0, 2), st.data())
def test_fields_are_found_changed_and_left_out(body: dict[str, Any], indent: int, data: st.DataObject) -> None:
    """Whatever they hold: what is read at their places is their value, and an edit is that of a dictionary."""
    raw = json.dumps(body, indent=indent or None).encode()
    assert {field.name: json.loads(raw[field.value : field.end]) for field in fields_of(raw)} == body
    drop = data.draw(st.sets(st.sampled_from([*body, "no such"])))
    values = data.draw(st.dictionaries(st.sampled_from([*body, "new"]), JSON, max_size=3))
    values = {name: value for name, value in values.items() if name not in drop}
    left = {name: value for name, value in body.items() if name not in drop}
    changed = edited(raw, {name: json.dumps(value).encode() for name, value in values.items()}, drop)
    assert json.loads(changed) == {**left, **values}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "a" : 1 , "b" : [2] , "c":3 }', b'{ "a" : 1 , "c":3 }'),
        (b'{ "a" : 1 , "b" : [2] }', b'{ "a" : 1 }'),
        (b'{ "b" : [2] , "a" : 1 }', b'{ "a" : 1 }'),
        (b'{ "b" : {} }', b"{  }"),
        (b'{"b":1,"a":2,"b":3}', b'{"a":2}'),
        (b'{"a":2,"b":1,"b":3}', b'{"a":2}'),
    ],
)
def test_a_field_goes_with_one_comma(body: bytes, expected: bytes) -> None:
    """First, last, alone or twice."""
    assert edited(body, {}, ("b",)) == expected


@pytest.mark.parametrize("value", [b"1,", b"[],", b'"",', b'{"a":[1]},', b"[[[[]]]],"])
def test_a_body_of_nothing_but_small_values_is_read_at_once(value: bytes) -> None:
    """A loop over them all would stop everybody else's streams for a minute; and it is read right."""
    body = b'{"x":[' + value * 3_000_000 + b'1],"model":"x"}'
    assert [field.name for field in fields_of(body)] == ["x", "model"]


def test_fields_have_their_number() -> None:
    """Told in words for a client."""
    body = b'{"model":"x"' + b',"a":1' * MOST_FIELDS + b"}"
    with pytest.raises(InvalidBodyError, match="more than 1000 fields"):
        fields_of(body)
    assert len(fields_of(body.replace(b',"a":1', b"", 1))) == MOST_FIELDS


@pytest.mark.parametrize("body", [b'{"\xff": 1}', b"[]", b'{"a":1', b'{"\\ud800":' + b"[" * 100_000 + b"}"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    """Nothing but InvalidBodyError comes out of it."""
    with pytest.raises(InvalidBodyError):
        fields_of(body)
