"""Fields of a wrong type or range, before llama-server ignores them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.errors import InvalidBodyError
from app.relay.amendments.amend import amended
from app.relay.request.body import routing
from app.relay.request.field_types import right_as_written
from app.relay.request.prepare import decoding_needed
from app.relay.request.scan import fields_in_steps
from app.relay.turns import at_once
from tests.support.wrong_fields import CHAT, COMPLETIONS, OF_ALL, RIGHT, WRONG, asked


def sent(path: str, request: dict[str, Any], *, ours: bool = True) -> dict[str, Any]:
    """What the upstream gets."""
    body = json.dumps(request).encode()
    found = amended(path, body, routing(body), "r-1", ours=ours)
    upstream: dict[str, Any] = json.loads(found.body if found else body)
    return upstream


@pytest.mark.parametrize(("path", "name", "value", "place"), WRONG)
def test_a_wrong_field_is_refused_with_its_place_and_what_would_be_right(
    path: str, name: str, value: Any, place: str
) -> None:
    with pytest.raises(InvalidBodyError, match=rf"^'{re.escape(place)}' \w+") as caught:
        sent(path, asked(path, name, value))
    assert caught.value.param == place


@pytest.mark.parametrize(("path", "name", "value", "place"), WRONG)
def test_a_wrong_field_of_a_large_body_is_decoded(path: str, name: str, value: Any, place: str) -> None:
    """In the worker, which refuses it as above."""
    body = json.dumps(asked(path, name, value) | {"stream": True}).encode()
    assert at_once(decoding_needed(body, at_once(fields_in_steps(body)), path, whole=False)), place


@pytest.mark.parametrize("path", OF_ALL)
@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_is_right_stays(path: str, name: str, value: Any) -> None:
    assert sent(path, asked(path, name, value)) == asked(path, name, value)


def test_an_attached_server_judges_for_itself() -> None:
    for path, name, value, _ in WRONG:
        if name not in ("stop", "enable_thinking", "stream_options") and None not in (value, *_within(value)):
            assert sent(path, asked(path, name, value), ours=False)[name] == value


def _within(value: Any) -> list[Any]:
    return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def test_a_field_of_another_endpoint_is_none_of_its_own() -> None:
    request = {"input": "x", "temperature": "x", "stop": 5}
    assert sent("/v1/embeddings", request) == request
    assert sent(COMPLETIONS, {"prompt": "x", "modalities": ["audio"]}) == {"prompt": "x", "modalities": ["audio"]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"enable_thinking": None}, {}),
        (
            {"enable_thinking": False, "chat_template_kwargs": {"a": 1}},
            {"chat_template_kwargs": {"a": 1, "enable_thinking": False}},
        ),
        (
            {"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": True}},
            {"chat_template_kwargs": {"enable_thinking": True}},
        ),
        ({"chat_template_kwargs": {"a": 1, "enable_thinking": None}}, {"chat_template_kwargs": {"a": 1}}),
        ({"chat_template_kwargs": {"a": None}}, {"chat_template_kwargs": {"a": None}}),
    ],
)
def test_thinking_is_set_where_templates_read_it(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    messages = {"messages": [{"role": "user", "content": "x"}]}
    assert sent(CHAT, messages | fields) == messages | expected


def test_an_empty_grammar_does_not_hide_a_schema() -> None:
    """Completions take the grammar if both are there."""
    schema = {"type": "object"}
    assert sent(COMPLETIONS, {"prompt": "x", "json_schema": schema, "grammar": ""}) == {
        "prompt": "x",
        "json_schema": schema,
    }


def test_a_field_without_a_type_is_right() -> None:
    assert right_as_written(CHAT, "user", b"5") and right_as_written("/slots", "temperature", b'"x"')


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        *((f"/v1/{path}", "top_n", value) for path in ("rerank", "reranking") for value in (-1, 0, "1", 1.5, True)),
        ("/v1/rerank", "return_text", "yes"),
        *(("/tokenize", name, value) for name in ("add_special", "parse_special", "with_pieces") for value in ("x", 1)),
    ],
)
def test_other_endpoints_are_checked_as_well(path: str, name: str, value: Any) -> None:
    """llama-server fails on a negative number of ranks, and ignores a flag that is none."""
    request = {"query": "x", "documents": ["a", "b"], "content": "x"}
    assert sent(path, request | {name: True if name != "top_n" else 1}) is not None
    with pytest.raises(InvalidBodyError, match=f"^'{name}' must be"):
        sent(path, request | {name: value})
