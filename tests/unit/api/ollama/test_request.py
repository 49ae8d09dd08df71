"""Ollama's requests in llama-server's words."""

import json
import re
from typing import Any

import pytest

from app.api.ollama.request import OWN_NAMES, OllamaRequest, model_of, translate
from app.api.translated.places import in_own_places
from app.errors import InvalidBodyError, ModelRequiredError


def request_of(path: str, **fields: Any) -> OllamaRequest:
    return translate(path, json.dumps({"model": "m"} | fields).encode())


def test_a_chat_streams_unless_told_otherwise() -> None:
    """As Ollama does; the usage that the last line tells is asked for."""
    request = request_of("/api/chat", messages=[{"role": "user", "content": "x"}])
    assert (request.target, request.stream, request.kind) == ("/v1/chat/completions", True, "chat")
    assert request.body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "x"}],
    }
    assert not request_of("/api/chat", messages=[{"role": "user", "content": "x"}], stream=False).stream


def test_options_become_sampling_fields() -> None:
    """By llama-server's names; what belongs to loading, and what is null, is left out."""
    options = {"num_predict": 5, "temperature": 0, "stop": ["a"], "num_ctx": 4096, "num_gpu": 9, "seed": None}
    body = request_of("/api/generate", prompt="x", options=options, stream=False).body
    assert body.items() >= {"max_tokens": 5, "temperature": 0, "stop": ["a"]}.items()
    assert not {"num_predict", "num_ctx", "num_gpu", "seed"} & body.keys()


def test_generate_is_a_chat_unless_raw_or_between_two_texts() -> None:
    """A prompt goes through the model's template; `raw` does not, `suffix` fills in."""
    request = request_of("/api/generate", prompt="x", system="s")
    assert request.target == "/v1/chat/completions"
    assert [message["role"] for message in request.body["messages"]] == ["system", "user"]
    assert request_of("/api/generate", prompt="x", raw=True).target == "/v1/completions"
    request = request_of("/api/generate", prompt="x", suffix="y", options={"num_predict": 3})
    assert request.target == "/infill"
    assert request.body.items() >= {"input_prefix": "x", "input_suffix": "y", "n_predict": 3}.items()


@pytest.mark.parametrize(
    ("path", "fields"), [("/api/chat", {}), ("/api/chat", {"messages": []}), ("/api/generate", {})]
)
def test_nothing_to_say_loads_the_model(path: str, fields: dict[str, Any]) -> None:
    """How Ollama's clients warm a model up."""
    assert request_of(path, **fields).loading


def test_images_are_data() -> None:
    """Base64 by itself here, a data URL there."""
    content = request_of("/api/chat", messages=[{"role": "user", "content": "x", "images": ["/9j/abc"]}]).body[
        "messages"
    ][0]
    assert content["content"][1]["image_url"]["url"] == "data:image/jpeg;base64,/9j/abc"


@pytest.mark.parametrize(
    ("path", "fields", "place"),
    [
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "x"}, {"images": ["/9j/", "no image"]}]},
            "messages[1].images[1]",
        ),
        ("/api/chat", {"messages": [{"images": [""]}]}, "messages[0].images[0]"),
        ("/api/chat", {"messages": [{"images": [7]}]}, "messages[0].images[0]"),
        ("/api/chat", {"messages": [{"images": "/9j/"}]}, "messages[0].images"),
        ("/api/generate", {"prompt": "x", "images": ["/9j/", "https://a.example/b.png"]}, "images[1]"),
        ("/api/generate", {"prompt": ["x"]}, "prompt"),
        ("/api/generate", {"prompt": "x", "system": 7}, "system"),
        ("/api/generate", {"prompt": "x", "suffix": 7}, "suffix"),
    ],
)
def test_an_image_that_is_none_is_named(path: str, fields: dict[str, Any], place: str) -> None:
    """By its place in the request."""
    with pytest.raises(InvalidBodyError, match=re.escape(f"'{place}' must be")) as refused:
        request_of(path, **fields)
    assert refused.value.param == place


def test_an_image_as_data_url_is_taken() -> None:
    """It holds the same base64."""
    [message] = request_of("/api/generate", prompt="x", images=["data:image/png;base64,iVBORw0KGgo="]).body["messages"]
    assert message["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ("messages[0].content[2]", "messages[0].images[1]"),
        ("messages[0].role", "messages[0].role"),
        ("response_format.json_schema.schema.properties.a", "format.properties.a"),
        ("max_tokens", "options.num_predict"),
        ("temperature", "options.temperature"),
        ("tools[0].type", "tools[0].type"),
    ],
)
def test_errors_name_places_of_ollamas_request(place: str, own: str) -> None:
    """Whatever the relay and the engine call them."""
    body = request_of(
        "/api/chat",
        messages=[{"role": "user", "content": "x", "images": ["/9j/", "/9j/"]}],
        format={"type": "object", "properties": {"a": {"type": "none"}}},
        tools=[{"type": "function"}],
        options={"num_predict": 3, "temperature": 1},
    ).body
    assert in_own_places({"error": f"'{place}' is wrong."}, body, OWN_NAMES) == {"error": f"'{own}' is wrong."}


def test_tools_and_their_answers() -> None:
    """Arguments are text there and an object here; answers find their call by the tool's name."""
    calls = [{"function": {"name": name, "arguments": {"a": 1}}} for name in ("one", "two")]
    messages = [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_name": "two", "content": "2"},
        {"role": "tool", "tool_name": "one", "content": "1"},
    ]
    first, two, one = request_of("/api/chat", messages=messages, tools=[{"type": "function"}]).body["messages"]
    assert [json.loads(call["function"]["arguments"]) for call in first["tool_calls"]] == [{"a": 1}] * 2
    assert (one["tool_call_id"], two["tool_call_id"]) == tuple(call["id"] for call in first["tool_calls"])


def test_format_and_think() -> None:
    """A schema, or any JSON; thinking on, off, or so much of it."""
    body = request_of("/api/generate", prompt="x", format={"type": "object"}, think=False).body
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    body = request_of("/api/generate", prompt="x", format="json", think="high").body
    assert body["response_format"] == {"type": "json_object"}
    assert body["chat_template_kwargs"]["reasoning_effort"] == "high"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"model": 5}),
        ("/api/chat", {"stream": "yes"}),
        ("/api/chat", {"messages": "x"}),
        ("/api/chat", {"messages": ["x"]}),
        ("/api/chat", {"messages": [{"role": "user", "images": "x"}]}),
        ("/api/chat", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}),
        ("/api/chat", {"messages": [{"role": "assistant", "tool_calls": 5}]}),
        ("/api/generate", {"prompt": "x", "options": [1]}),
        ("/api/generate", {"prompt": "x", "format": 5}),
        ("/api/generate", {"prompt": "x", "think": 5}),
        ("/api/embed", {}),
    ],
)
def test_what_cannot_be_read_is_told_in_words(path: str, fields: dict[str, Any]) -> None:
    """A 400 that names the field, never a fault of ours."""
    with pytest.raises(InvalidBodyError, match="'"):
        request_of(path, **fields)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object(raw: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(InvalidBodyError):
        translate("/api/chat", raw)


def test_the_name_alone() -> None:
    """Older clients say `name`."""
    assert model_of(b'{"name": "a"}') == model_of(b'{"model": "a"}') == "a"
    with pytest.raises(ModelRequiredError):
        model_of(b"{}")
