"""Remote media in a request: what is found, what is left alone, and how data are put in."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from app.errors import InvalidBodyError
from app.relay.request.body import routing
from app.relay.request.media import Media, Remote, find

URL = "https://a.example/cat.png"
PNG = Media("image/png", b"\x89PNG")
DATA = base64.b64encode(PNG.content).decode()


def found_in(body: dict[str, Any] | bytes) -> Remote | None:
    fields = routing(body if isinstance(body, bytes) else json.dumps(body).encode())
    return find(fields.messages, input=fields.input, query=fields.query, documents=fields.documents)


def message(*parts: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, *parts]}]}


REMOTE = {
    "openai": message({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}),
    "openai-short": message({"type": "image_url", "image_url": URL}),
    "video": message({"type": "video_url", "video_url": {"url": URL}}),
    "audio": message({"type": "audio_url", "audio_url": {"url": URL}}),
    "audio-data": message({"type": "input_audio", "input_audio": {"data": URL, "format": "wav"}}),
    "file": message({"type": "file", "file": {"file_data": URL}}),
    "anthropic": message({"type": "image", "source": {"type": "url", "url": URL}}),
    "anthropic-document": message({"type": "document", "source": {"type": "url", "url": URL}}),
    "anthropic-tool": message(
        {
            "type": "tool_result",
            "tool_use_id": "1",
            "content": [{"type": "image", "source": {"type": "url", "url": URL}}],
        }
    ),
    "reranked": {"query": "x", "documents": ["a", {"content": [{"type": "image_url", "image_url": {"url": URL}}]}]},
    "reranked-object": {"query": {"content": [{"type": "image_url", "image_url": URL}]}, "documents": ["a"]},
    "reranked-parts": {"documents": {"content": [{"type": "image_url", "image_url": URL}, {"type": "text"}]}},
    "reranked-image": {"query": {"text": "x"}, "documents": [{"image": URL}]},
    "responses": {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]},
    "responses-file": {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": URL}]}]},
    "responses-tool": {
        "input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": URL}]}]
    },
    "responses-screen": {
        "input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": URL}}]
    },
}


@pytest.mark.parametrize("body", REMOTE.values(), ids=REMOTE)
def test_media_by_address_are_found_on_every_surface(body: dict[str, Any]) -> None:
    """Wherever a server would look for them, however the JSON is written."""
    text = json.dumps(body)
    spellings = [text, text.replace("/", "\\/"), text.replace("https", "\\u0068ttps"), text.replace("https", " HTTPS")]
    spellings.append(text.replace("image_url", "image\\u005furl").replace("source", "s\\u006furce"))
    for spelling in spellings:
        remote = found_in(spelling.encode())
        assert remote is not None and [url.lower() for url in remote.urls] == [URL], spelling


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": f"look at {URL}"}]},
        {"messages": [{"role": "user", "content": URL}]},
        message({"type": "text", "text": URL}),
        message({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        message({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}),
        message({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": URL}}),
        message({"type": "search_result", "source": URL, "title": "t", "content": [{"type": "text", "text": URL}]}),
        message({"type": "tool_use", "id": "1", "name": "fetch", "input": {"url": URL, "image_url": URL}}),
        {"messages": [], "tools": [{"function": {"parameters": {"properties": {"image_url": {"default": URL}}}}}]},
        {"input": URL},
        {"input": [URL, "text"]},
        {"input": [[1, 2], [3]]},
        {
            "input": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": URL, "annotations": [{"type": "url_citation", "url": URL}]}
                    ],
                }
            ]
        },
        {"prompt": URL},
        {"query": URL, "documents": [URL, "{}"]},
        {"query": {"text": URL}, "documents": [{"text": URL}]},
        {"messages": None, "input": None},
        {},
    ],
)
def test_text_that_mentions_an_address_is_no_media(body: dict[str, Any]) -> None:
    """Words, tools, their arguments and citations pass, and so does what is there already."""
    assert found_in(body) is None


def test_an_odd_neighbour_hides_nothing() -> None:
    """What is no message stands beside one that is: an engine may look at the first before it meets the second."""
    body = message({"type": "image_url", "image_url": {"url": URL}})
    body["messages"].append(5)
    assert found_in(body) is not None
    assert found_in({"messages": {"content": [{"image_url": URL}]}}) is not None


def test_what_cannot_be_read_does_not_go_on() -> None:
    """Bytes that are no UTF-8 beside an image."""
    body = json.dumps(message({"type": "image_url", "image_url": {"url": URL}})).encode()
    with pytest.raises(InvalidBodyError):
        found_in(body.replace(b'"text": "x"', b'"text": "\xff"'))


def test_depth_is_no_way_around() -> None:
    """Deeply nested parts are found or refused, and never a failure of ours."""
    inner: Any = {"type": "image_url", "image_url": {"url": URL}}
    text = json.dumps(inner)
    for depth in (10, 300, 100_000):
        nested = '{"content":[' * depth + text + "]}" * depth
        try:
            assert found_in(('{"messages":[' + nested + "]}").encode()) is not None
        except InvalidBodyError:
            assert depth > 300


@pytest.mark.parametrize("name", ["openai", "responses", "video"])
def test_data_take_the_place_of_an_address(name: str) -> None:
    """As a data URL; every byte outside of the messages stays."""
    body = b'{ "x" : 1.0 , ' + json.dumps(REMOTE[name]).encode()[1:]
    remote = found_in(body)
    assert remote is not None
    filled = remote.filled(body, {URL: PNG})
    assert filled.startswith(b'{ "x" : 1.0 , ')
    assert json.loads(filled) == json.loads(body.replace(URL.encode(), f"data:image/png;base64,{DATA}".encode()))


def test_data_stand_where_a_surface_has_them() -> None:
    """Anthropic's source has a type of its own for them; `data` of audio is base64 and nothing else."""
    for name, expected in (
        ("anthropic", {"type": "base64", "media_type": "image/png", "data": DATA}),
        ("audio-data", {"data": DATA, "format": "wav"}),
    ):
        body = json.dumps(REMOTE[name]).encode()
        remote = found_in(body)
        assert remote is not None
        [_, part] = json.loads(remote.filled(body, {URL: PNG}))["messages"][0]["content"]
        assert part.get("source") == expected or part.get("input_audio") == expected


def test_an_address_that_stands_twice_is_one() -> None:
    """And is filled in at both places."""
    part = {"type": "image_url", "image_url": {"url": URL}}
    body = msgspec.json.encode(message(part, part))
    remote = found_in(body)
    assert remote is not None and remote.urls == (URL,)
    assert remote.filled(body, {URL: PNG}).count(DATA.encode()) == 2


@pytest.mark.parametrize("name", REMOTE)
def test_a_url_has_a_place(name: str) -> None:
    """Errors about it name the place."""
    found = found_in(REMOTE[name])
    place = found.place(URL) if found is not None else None
    assert found is not None and place is not None
    value: Any = REMOTE[name]
    for step in place.replace("[", ".[").split("."):
        value = value[int(step[1:-1])] if step.startswith("[") else value[step]
    assert value == URL and found.place("https://b.example/") is None
