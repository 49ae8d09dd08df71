"""Messages requests as chat completions, and refusals that name the place."""

from typing import Any

import pytest

from app.api.messages.request import MessagesRequest, translate
from app.api.translated.fields import Fields
from app.api.translated.opaque import pack
from app.errors import InvalidBodyError

SAID = [{"role": "user", "content": "x"}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
TOOL = {"name": "weather", "description": "w", "input_schema": {"type": "object", "properties": {}}}


def translated(ours: bool = False, **fields: Any) -> MessagesRequest:
    return translate(Fields({"model": "m", "max_tokens": 8, "messages": SAID} | fields), ours=ours)


def chat(**fields: Any) -> list[Any]:
    messages: list[Any] = translated(**fields).body["messages"]
    return messages


def user(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def test_system_in_both_places() -> None:
    """One system message at the beginning; a later one stays where it is."""
    blocks = [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "B"}]
    assert chat(system=blocks)[0] == {"role": "system", "content": "A\n\nB"}
    assert chat(system="A", messages=[{"role": "system", "content": "B"}, *SAID])[0]["content"] == "A\n\nB"
    assert [m["role"] for m in chat(messages=[*SAID, {"role": "system", "content": "B"}])] == ["user", "system"]
    assert chat(system=None) == SAID


def test_a_document_is_text_in_the_prompt() -> None:
    """With title and context, whether it comes as text, blocks or base64."""
    text = {"type": "text", "text": "Which word?"}
    for source in (
        {"type": "text", "media_type": "text/plain", "data": "banana"},
        {"type": "content", "content": "banana"},
        {"type": "content", "content": [{"type": "text", "text": "banana"}]},
        {"type": "base64", "media_type": "text/plain", "data": "YmFuYW5h"},
    ):
        [message] = chat(messages=user({"type": "document", "source": source, "title": "T"}, text))
        assert message["content"].startswith("T")
        assert "banana" in message["content"] and message["content"].endswith("Which word?")


def test_images() -> None:
    """As data, or by address, which the relay sees to."""
    data = {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}
    [message] = chat(messages=user({"type": "image", "source": data}, {"type": "text", "text": "?"}))
    assert message["content"][0] == {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}}
    [message] = chat(messages=user({"type": "image", "source": {"type": "url", "url": "https://a.example/x"}}))
    assert message["content"][0]["image_url"]["url"] == "https://a.example/x"


def test_tool_results_come_first_and_tell_of_errors() -> None:
    """Text, images and nothing at all."""
    results = (
        {"type": "text", "text": "and?"},
        {"type": "tool_result", "tool_use_id": "a", "content": "22"},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True, "content": [{"type": "text", "text": "no city"}]},
        {"type": "tool_result", "tool_use_id": "c", "is_error": True},
        {"type": "tool_result", "tool_use_id": "d"},
        {
            "type": "tool_result",
            "tool_use_id": "e",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}],
        },
    )
    *tools, said = chat(messages=user(*results))
    assert [tool["content"] for tool in tools[:4]] == ["22", "Error: no city", "Error: the tool failed.", ""]
    assert tools[4]["content"][0]["type"] == "image_url"
    assert {tool["role"] for tool in tools} == {"tool"} and said == {"role": "user", "content": "and?"}


def test_an_assistants_turn_is_one_message() -> None:
    """Thoughts, shown or not, text and calls; empty input is an empty object."""
    turn = [
        {"type": "thinking", "thinking": "Hm", "signature": "x"},
        {"type": "thinking", "thinking": "", "signature": pack("m")},
        {"type": "redacted_thinking", "data": "of somebody else's"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "b", "name": "time", "input": None},
    ]
    [_, assistant, *_] = chat(messages=[*SAID, {"role": "assistant", "content": turn}, *SAID])
    assert (assistant["content"], assistant["reasoning_content"]) == ("I look.", "Hmm")
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == ['{"city":"Paris"}', "{}"]


def test_thoughts_of_earlier_turns_are_cleared_where_the_client_says_so() -> None:
    """Claude Code keeps them all; a number keeps that of the last turns."""
    turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": "x"}]}
    talk = [*SAID, turn, *SAID, turn, *SAID]
    for keep, count in (("all", 2), ({"type": "thinking_turns", "value": 1}, 1), (None, 1)):
        edit = {"type": "clear_thinking_20251015"} | ({} if keep is None else {"keep": keep})
        found = chat(messages=talk, context_management={"edits": [edit]})
        assert sum("reasoning_content" in message for message in found) == count


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        ({"type": "auto"}, ["weather", "time"], "auto"),
        ({"type": "any", "disable_parallel_tool_use": True}, ["weather", "time"], "required"),
        ({"type": "tool", "name": "time"}, ["time"], "required"),
        ({"type": "none"}, ["weather", "time"], "none"),
    ],
)
def test_tool_choice(choice: Any, names: list[str], sent: str) -> None:
    """One that must be called is the only one that the engine is told of: it knows no choice by name."""
    body = translated(tools=[TOOL, TOOL | {"name": "time", "type": "custom"}], tool_choice=choice).body
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body["tool_choice"] == sent
    assert body.get("parallel_tool_calls") == (False if "disable_parallel_tool_use" in choice else None)


def test_messages_of_the_assistant_at_the_end_are_one() -> None:
    """As Anthropic takes them, and engines do not."""
    request = translated(messages=[*SAID, *({"role": "assistant", "content": text} for text in ("One", "two"))])
    assert [m["content"] for m in request.body["messages"]] == ["x", "One\n\ntwo"]
    assert request.prefill == "One\n\ntwo"


def test_a_tool_has_its_examples_in_its_description() -> None:
    """Chat tools have no place of their own for them."""
    [tool] = translated(tools=[TOOL | {"input_examples": [{"city": "Oslo"}], "allowed_callers": ["direct"]}]).body[
        "tools"
    ]
    assert tool["function"]["description"] == 'w\nExamples:\n{"city":"Oslo"}'


def test_a_tool_that_was_searched_for_is_told_of() -> None:
    """All tools of a request are in its prompt, those with `defer_loading` too."""
    found = {"type": "tool_reference", "tool_name": "weather"}
    result = {"type": "tool_result", "tool_use_id": "s", "content": [found]}
    request = translated(messages=user(result), tools=[TOOL | {"defer_loading": True}])
    assert "weather" in request.body["messages"][0]["content"]
    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["weather"]


def test_thinking_and_effort_reach_the_template() -> None:
    """The budget too."""
    body = translated(thinking={"type": "enabled", "budget_tokens": 2048}, output_config={"effort": "max"}).body
    assert body["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": "high"}
    assert body["thinking_budget_tokens"] == 2048
    assert translated(thinking={"type": "disabled"}).body["chat_template_kwargs"] == {"enable_thinking": False}
    assert not translated(thinking={"type": "adaptive", "display": "omitted"}).shows_thoughts
    assert "chat_template_kwargs" not in translated(thinking=None).body


def test_a_format_is_a_schema_for_the_engine() -> None:
    """In its place of today, and in that of before."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "schema": schema}
    for fields in ({"output_config": {"format": wanted}}, {"output_format": wanted}):
        request = translated(**fields)
        assert request.body["response_format"]["json_schema"]["schema"] == schema
        assert request.json_only


def test_engines_of_ours_are_asked_for_more() -> None:
    """The prompt's tokens, the stop word, and the beginning that is then taken off."""
    prefilled = [*SAID, {"role": "assistant", "content": "One"}]
    request = translated(ours=True, stream=True, stop_sequences=["e"], messages=prefilled)
    body = request.body
    assert (body["return_progress"], body["verbose"], body["echo"], body["stop"]) == (True, True, True, ["e"])
    assert (request.prefill, body["chat_template_kwargs"]) == ("One", {"enable_thinking": False})
    assert not translated(stream=True, messages=prefilled).body.keys() & {"return_progress", "verbose", "echo"}


def test_the_engines_own_sampling_goes_on() -> None:
    """And null is left out everywhere."""
    body = translated(top_k=4, min_p=0.1, seed=3, temperature=None, tools=None, metadata=None, top_p=None).body
    assert body == {
        "messages": SAID,
        "stream": False,
        "max_tokens": 8,
        "top_k": 4,
        "min_p": 0.1,
        "seed": 3,
    }


PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": user({"type": "hologram"})}, "messages[0].content[0].type"),
        ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
        ({"messages": user({"type": "document", "source": PDF})}, "messages[0].content[0].source.data"),
        ({"messages": user({"type": "document", "source": {"type": "url", "url": "http://a"}})}, "source.type"),
        ({"messages": user({"type": "image", "source": {"type": "file", "file_id": "f"}})}, "source.type"),
        ({"messages": user({"type": "document", "citations": {"enabled": True}})}, "citations.enabled"),
        ({"messages": user({"type": "tool_result"})}, "messages[0].content[0].tool_use_id"),
        ({"system": 7}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "nope"}}, "tool_choice.name"),
        ({"thinking": {"type": "loud"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management.edits[0].type"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"url": "http://a"}]}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
        ({"n": 2}, "n"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": user({"type": "document", "source": {"type": "text", "data": None}})}, "source.data"),
        *(({"messages": user({"type": kind})}, "messages[0].content[0].type") for kind in (None, 5, "thinking")),
        ({"metadata": "me"}, "metadata"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"tools": [TOOL | {"allowed_callers": ["code_execution_20260120"]}]}, "tools[0].allowed_callers"),
        ({"messages": user(IMAGE | {"transformations": {"crop": {}}})}, "messages[0].content[0].transformations"),
    ],
)
def test_what_cannot_be_honoured_is_named(fields: Any, place: str) -> None:
    """In the message, which is all that Anthropic's clients get, and as `param`."""
    with pytest.raises(InvalidBodyError) as refused:
        translated(**fields)
    assert (refused.value.param or "").endswith(place)
    assert str(refused.value).startswith(f"'{refused.value.param}' ")
