"""An entry's `request:` at work on the bytes of a body."""

import pytest

from app.config.request_filters import Filters
from app.relay.request.body import routing
from app.relay.request.filters import Filter
from tests.support.filtering import CHAT, filtered


def test_defaults_fill_what_was_left_out() -> None:
    """A field that is null was left out; whatever else the client wrote stays, to the byte."""
    defaults = {"temperature": 0.7, "stop": ["a"]}
    assert filtered('{ "x" : 1 }', defaults=defaults) == '{"temperature":0.7,"stop":["a"], "x" : 1 }'
    assert filtered('{"stop": null, "temperature" :0}', defaults=defaults) == '{"stop": ["a"], "temperature" :0}'


def test_fixed_fields_replace_what_was_sent() -> None:
    """Or are added."""
    fixed = {"seed": 1, "kwargs": {"a": False}}
    assert filtered('{"seed": 5, "kwargs" : {"b": [1]} }', fixed=fixed) == '{"seed": 1, "kwargs" : {"a":false} }'
    assert filtered("{}", fixed={"seed": 1}) == '{"seed":1}'


def test_dropped_fields_are_gone() -> None:
    """However often they were written."""
    assert filtered('{"a": 1, "top_k": 5, "b": {"top_k": 1}, "top_k": 6}', drop=["top_k"]) == (
        '{"a": 1, "b": {"top_k": 1}}'
    )


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
@pytest.mark.parametrize(
    ("value", "sent"),
    [
        *(("10", "10"), ("100", "100"), ("0", "0"), ("99.5", "99.5")),
        *(("101", "100"), ("1e9", "100"), ("1e999", "100"), ("-1", "100"), ("true", "100")),
        *(('"50"', "100"), ("[5]", "100"), ("{}", "100")),
    ],
)
def test_the_cap_holds_by_every_name(name: str, value: str, sent: str) -> None:
    """What is no number, or below 0, means no limit to llama-server."""
    assert filtered(f'{{"{name}": {value}}}', max_tokens=100) == f'{{"{name}": {sent}}}'


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (CHAT, "max_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
        ("/completion", "n_predict"),
        ("/infill", "n_predict"),
    ],
)
def test_who_names_no_limit_gets_one_by_the_apis_name(path: str, name: str) -> None:
    """The default's, else the cap, else none."""
    assert filtered("{}", path, max_tokens=100, defaults={"max_tokens": 5}) == f'{{"{name}":5}}'
    assert filtered("{}", path, max_tokens=100) == f'{{"{name}":100}}'
    assert filtered("{}", path, fixed={"max_tokens": 7}) == f'{{"{name}":7}}'
    assert filtered("{}", path, drop=["top_k"]) == "{}"
    assert filtered(f'{{"{name}": 50}}', path, max_tokens=100, defaults={"max_tokens": 5}) == f'{{"{name}": 50}}'


def test_a_limit_that_does_not_count_there_is_none() -> None:
    """Responses do not know `max_tokens`: it neither caps nor escapes the cap."""
    assert filtered('{"max_tokens": 500}', "/v1/responses", max_tokens=100) == (
        '{"max_output_tokens":100,"max_tokens": 100}'
    )


@pytest.mark.parametrize("body", ['{"max_tokens": 500, "max_tokens": 5}', '{"max_tokens": 5, "max_tokens": 500}'])
def test_a_limit_written_twice_does_not_escape(body: str) -> None:
    """Parsers differ on which one counts."""
    assert filtered(body, max_tokens=100) == '{"max_tokens": 100, "max_tokens": 100}'


def test_a_limit_can_be_fixed_or_dropped_by_all_its_names() -> None:
    """`max_tokens` in an entry stands for each of them."""
    body = '{"max_completion_tokens": 5, "n_predict": 6}'
    assert filtered(body, fixed={"max_tokens": 9}) == '{"max_completion_tokens": 9, "n_predict": 9}'
    assert filtered(body, drop=["max_tokens"]) == "{}"
    assert filtered(body, drop=["max_tokens"], max_tokens=9) == '{"max_tokens":9}'


def test_where_nothing_is_generated_no_limit_is_added() -> None:
    """Embeddings, counts and templates have none."""
    for path in ("/v1/embeddings", "/tokenize", "/apply-template", "/v1/messages/count_tokens"):
        assert filtered('{"max_tokens": 500}', path, max_tokens=100) == '{"max_tokens": 500}'


def test_a_body_that_needs_no_change_is_the_same_object() -> None:
    """Nothing is read again then."""
    body = b'{"max_tokens": 5}'
    assert Filter(Filters(max_tokens=100)).apply(CHAT, body, routing(body))[0] is body
