"""Responses requests as chat completions, and refusals that name the place."""

from typing import Any

import pytest

from app.api.responses.request import ResponsesRequest, translate
from app.api.translated.fields import Fields
from app.api.translated.opaque import pack
from app.errors import InvalidBodyError

SAID = {"role": "user", "content": "x"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": True}
CALL = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}


def translated(**fields: Any) -> ResponsesRequest:
    return translate(Fields({"model": "m", "input": [SAID]} | fields), ours=True)


def chat(*items: Any, **fields: Any) -> list[Any]:
    messages: list[Any] = translated(**({"input": list(items)} | fields)).body["messages"]
    return messages


def test_instructions_and_leading_system_messages_are_one() -> None:
    """Templates take one, at the beginning; later ones stay."""
    developer = {"role": "developer", "content": [{"type": "input_text", "text": "B"}]}
    assert chat(developer, SAID, instructions="A") == [{"role": "system", "content": "A\n\nB"}, SAID]
    assert [m["role"] for m in chat(SAID, developer)] == ["user", "system"]
    assert chat(instructions=None, input="hi") == [{"role": "user", "content": "hi"}]


def test_a_turn_of_the_model_is_one_message() -> None:
    """What it thought, said and called, and then the outputs."""
    items = (
        SAID,
        {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        CALL,
        CALL | {"call_id": "d", "arguments": ""},
        {"type": "function_call_output", "call_id": "c", "output": "22"},
        {"type": "function_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "12"}]},
    )
    _, turn, first, second = chat(*items)
    assert (turn["content"], turn["reasoning_content"]) == ("I look.", "Hm")
    assert [call["function"]["arguments"] for call in turn["tool_calls"]] == ["{}", "{}"]
    assert [(m["role"], m["tool_call_id"], m["content"]) for m in (first, second)] == [
        ("tool", "c", "22"),
        ("tool", "d", "12"),
    ]


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        ({"summary": []}, None),
        ({"summary": [], "content": None, "encrypted_content": "gAAAA of OpenAI"}, None),
        ({"summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "gAAAA"}, "Hm"),
        ({"summary": [{"type": "summary_text", "text": "short"}], "encrypted_content": pack("long")}, "long"),
        ({"content": [{"type": "reasoning_text", "text": "Hm"}]}, "Hm"),
    ],
)
def test_reasoning_comes_back_in_every_form(item: Any, thought: str | None) -> None:
    """As OpenAI, Vercel and Codex send it: the second turn goes on."""
    answer = {"role": "assistant", "content": "x"}
    _, turn, _ = chat(SAID, {"type": "reasoning", "id": "rs_1"} | item, answer, SAID)
    assert (turn["content"], turn.get("reasoning_content")) == ("x", thought)


@pytest.mark.parametrize(("context", "first"), [("current_turn", None), ("all_turns", "a"), ("auto", "a")])
def test_thoughts_of_earlier_turns_are_left_out_if_the_client_says_so(context: str, first: str | None) -> None:
    """Those since its last message stay."""
    thoughts = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]} for text in "ab"]
    answer, output = (
        {"role": "assistant", "content": "x"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
    )
    items = [SAID, thoughts[0], answer, SAID, thoughts[1], CALL | {"call_id": "c"}, output]
    messages = translated(input=items, reasoning={"context": context, "mode": "standard"}).body["messages"]
    assert [m.get("reasoning_content") for m in messages if m["role"] == "assistant"] == [first, "b"]


def test_an_input_that_ends_with_the_assistant_is_gone_on_from() -> None:
    """Its last messages are one, as engines take it; the client is told which part is its own."""
    request = translated(input=[SAID, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}])
    assert request.body["messages"][1:] == [{"role": "assistant", "content": "a\n\nb"}]
    assert request.prefill == "a\n\nb" and request.body["echo"]
    assert request.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert translated(input=[SAID]).prefill == translated(input=[SAID, CALL]).prefill == ""


def test_custom_tools_are_functions_of_one_text() -> None:
    """Their calls and outputs in the history too."""
    tool = {"type": "custom", "name": "apply", "description": "d", "format": {"type": "text"}}
    call = {"type": "custom_tool_call", "call_id": "c", "name": "apply", "input": 'say "hi"'}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}
    request = translated(input=[SAID, call, output], tools=[tool])
    assert request.body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert request.body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"input":"say \\"hi\\""}'
    assert request.tools.of_client("apply").custom


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        (None, ["weather", "time"], None),
        ("auto", ["weather", "time"], "auto"),
        ("none", ["weather", "time"], "none"),
        ("required", ["weather", "time"], "required"),
        ({"type": "function", "name": "time"}, ["time"], "required"),
        ({"type": "function", "function": {"name": "time"}}, ["time"], "required"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "time"}]}, ["time"], "auto"),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"name": "weather"}]}, ["weather"], "required"),
    ],
)
def test_tool_choice(choice: Any, names: list[str], sent: str | None) -> None:
    """Whom the model may not call the engine is not told of."""
    body = translated(tools=[TOOL, TOOL | {"name": "time"}], tool_choice=choice).body
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body.get("tool_choice") == sent


def test_parts() -> None:
    """Images and audio as they are, files of text as text."""
    parts = [
        {"type": "input_text", "text": "?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,YmFuYW5h"},
        {"type": "input_file", "file_data": "data:image/png;base64,AA"},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
    ]
    [message] = chat({"role": "user", "content": parts})
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "text", "image_url", "input_audio"]
    assert message["content"][1]["image_url"] == {"url": "data:image/png;base64,AA", "detail": "low"}
    assert message["content"][2]["text"] == "a.txt\n\nbanana"


@pytest.mark.parametrize("kind", ["application/x-sh", "application/javascript", "video/mp2t", "application/toml", ""])
def test_source_code_is_text_whatever_its_type_is(kind: str) -> None:
    part = {"type": "input_file", "filename": "a.ts", "file_data": f"data:{kind};base64,bGV0IGEgPSAx"}
    assert chat({"role": "user", "content": [part]})[0]["content"] == "a.ts\n\nlet a = 1"


@pytest.mark.parametrize("data", ["JVBERi0xLjQ=", "AAAA", "/9j/4AAQ"])
def test_a_file_that_is_no_text_is_refused_whatever_its_type_is(data: str) -> None:
    with pytest.raises(InvalidBodyError, match="cannot be read"):
        chat({"role": "user", "content": [{"type": "input_file", "file_data": f"data:text/plain;base64,{data}"}]})


def test_a_format_is_a_schema_for_the_engine() -> None:
    """Strict or not; plain text is none."""
    wanted = {"type": "json_schema", "name": "n", "strict": True, "schema": {"type": "object"}}
    request = translated(text={"format": wanted, "verbosity": "medium"})
    assert request.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    assert request.json_field == "text.format"
    assert translated(text={"format": {"type": "json_object"}}).body["response_format"] == {"type": "json_object"}
    assert "response_format" not in translated(text={"format": {"type": "text"}}).body


def test_limits_sampling_and_the_engines_own_fields() -> None:
    """By the names of chat completions; null is left out everywhere."""
    body = translated(max_output_tokens=4, top_p=0.5, temperature=0, seed=3, top_k=9, tools=None, text=None).body
    sent = {"max_tokens": 4, "top_p": 0.5, "temperature": 0, "seed": 3, "top_k": 9}
    assert body == {"messages": [SAID], "stream": False} | sent
    nothing = dict.fromkeys(("conversation", "background", "reasoning", "include", "tool_choice", "user"))
    assert translated(**nothing).body == {"messages": [SAID], "stream": False}


def test_effort_and_log_probabilities() -> None:
    """Effort reaches the template."""
    assert translated(reasoning={"effort": "none"}).body["chat_template_kwargs"] == {"enable_thinking": False}
    kwargs = translated(reasoning={"effort": "xhigh"}).body["chat_template_kwargs"]
    assert kwargs == {"enable_thinking": True, "reasoning_effort": "high"}
    body = translated(include=["message.output_text.logprobs"], top_logprobs=3).body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


def test_a_search_that_may_not_search_is_left_out() -> None:
    """Codex sends it with each of its requests."""
    request = translated(tools=[TOOL, {"type": "web_search", "external_web_access": False}])
    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["weather"]


def test_every_response_repeats_its_request() -> None:
    """With OpenAI's defaults for what was left out."""
    echoed = translated(metadata={"a": "b"}, tools=[TOOL], instructions="A", store=False).echoed
    assert (echoed["metadata"], echoed["instructions"], echoed["store"]) == ({"a": "b"}, "A", False)
    assert (echoed["tool_choice"], echoed["parallel_tool_calls"], echoed["truncation"]) == ("auto", True, "disabled")
    assert echoed["text"] == {"format": {"type": "text"}}
    assert echoed["tools"][0]["strict"] is True


def user(part: Any) -> list[Any]:
    return [{"role": "user", "content": [part]}]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": user({"type": "hologram"})}, "input[0].content[0].type"),
        ({"input": user({"type": "input_image", "file_id": "f"})}, "input[0].content[0].file_id"),
        ({"input": user({"type": "input_file", "file_url": "http://a"})}, "input[0].content[0].file_url"),
        ({"input": user({"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0="})}, "file_data"),
        ({"input": [SAID, CALL | {"arguments": "{"}]}, "input[1].arguments"),
        ({"input": [SAID, CALL | {"arguments": "[]"}]}, "input[1].arguments"),
        ({"input": [SAID, {"type": "function_call_output", "call_id": "c"}]}, "input[1].output"),
        ({"input": [{"type": "web_search_call", "id": "w"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": [SAID, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}]}, "input[1]"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"include": ["everything"]}, "include[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "mcp", "server_label": "s"}]}, "tools[1].type"),
        (
            {"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar", "syntax": "lark"}}]},
            "tools[0].format",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "nope"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"service_tier": 7}, "service_tier"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"context": "some"}}, "reasoning.context"),
        ({"tools": [TOOL | {"async": True}]}, "tools[0].async"),
        *(({name: value}, name) for name in ("parallel_tool_calls", "background") for value in ("x", 1, [])),
        *(({"stream_options": value}, "stream_options") for value in ("x", True, [])),
        ({"stream_options": {"include_obfuscation": "x"}}, "stream_options.include_obfuscation"),
        ({"prompt_cache_retention": 24}, "prompt_cache_retention"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        *(({"tools": [TOOL], "tool_choice": value}, "tool_choice") for value in (5, True, [])),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.tools"),
        *(({"input": user({"type": value, "text": "x"})}, "input[0].content[0].type") for value in (None, 5, {})),
        ({"tools": [TOOL | {"allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
    ],
)
def test_what_cannot_be_honoured_is_named(fields: Any, place: str) -> None:
    """By `param` and in the message."""
    with pytest.raises(InvalidBodyError) as refused:
        translated(**fields)
    assert (refused.value.param or "").endswith(place)
    assert str(refused.value).startswith(f"'{refused.value.param}' ")
