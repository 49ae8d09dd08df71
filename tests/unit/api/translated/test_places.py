"""Errors about a translated request speak of the client's places."""

import json
from typing import Any

import pytest

from app.api.messages import request as messages_request
from app.api.responses import request as responses_request
from app.api.translated.fields import Fields
from app.api.translated.places import own_place, refusal_in_own_places

IMAGE = "data:image/png;base64,aGVsbG8="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
RESPONSES = {"max_tokens": "max_output_tokens"}


def of_responses(**fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "m", "instructions": "A", "input": "x"}
    return responses_request.translate(Fields(body | fields), ours=True).body


def of_messages(**fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "m", "max_tokens": 1, "system": "A"}
    return messages_request.translate(Fields(body | fields), ours=True).body


def test_places_of_responses() -> None:
    """A system message stands before the rest; parts and tools have other names."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": IMAGE}]
    tools = [{"type": "web_search", "external_web_access": False}, {"type": "function", "name": "f"}]
    tools[1]["parameters"] = SCHEMA
    chat = of_responses(
        input=[{"role": "user", "content": "x"}, {"role": "user", "content": parts}],
        tools=tools,
        text={"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
    )
    for place, own in (
        ("messages[2].content[1]", "input[1].content[1]"),
        ("messages[1].content", "input[0].content"),
        ("tools[0].function.parameters.properties.a", "tools[1].parameters.properties.a"),
        ("tools[0].function.name", "tools[1].name"),
        ("response_format.json_schema.schema.properties.a.pattern", "text.format.schema.properties.a.pattern"),
        ("response_format.json_schema.strict", "text.format.strict"),
        ("max_tokens", "max_output_tokens"),
        ("temperature", "temperature"),
    ):
        assert own_place(place, chat, RESPONSES) == own


def test_places_of_messages() -> None:
    """Results of tools become messages of their own, before what the user says."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}, image]}
    blocks = [{"type": "text", "text": "a"}, image, result]
    for asks in ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {}):
        tools = [{"name": "f", "input_schema": SCHEMA}]
        chat = of_messages(messages=[{"role": "user", "content": blocks}], tools=tools, **asks)
        assert own_place("messages[1].content[1]", chat, {}) == "messages[0].content[2].content[1]"
        assert own_place("messages[2].content[1]", chat, {}) == "messages[0].content[1]"
        assert own_place("tools[0].function.parameters.properties.a", chat, {}) == "tools[0].input_schema.properties.a"
    older = of_messages(
        messages=[{"role": "user", "content": "x"}], output_format={"type": "json_schema", "schema": {}}
    )
    assert own_place("response_format.json_schema.schema.$ref", older, {}) == "output_format.schema.$ref"


@pytest.mark.parametrize(
    ("message", "own"),
    [
        ("'messages[1].content' is missing.", "'input.content' is missing."),
        ("'max_tokens' must be less.", "'max_output_tokens' must be less."),
        # Words that only look like places
        ("no model 'tools' and no 'messages'", "no model 'tools' and no 'input'"),
        ("the model's 'm[0]' isn't there", "the model's 'm[0]' isn't there"),
    ],
)
def test_words_of_an_error(message: str, own: str) -> None:
    """Only what is a field of the translated request is put in other words, nested errors among it."""
    chat = of_responses(max_output_tokens=3) | {"messages": of_responses()["messages"]}
    names = RESPONSES | {"messages": "input"}
    body = json.dumps({"error": {"message": message, "param": None}}).encode()
    assert json.loads(refusal_in_own_places(body, chat, names)) == {"error": {"message": own, "param": None}}


def test_what_is_no_error_stays() -> None:
    """Bodies that cannot be read pass."""
    for body in (b"", b"<html>", b"\xff"):
        assert refusal_in_own_places(body, {}, {}) == body
