"""What a request becomes on its way to llama-server, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import InvalidBodyError
from app.relay.amendments.amend import Amended, amended
from app.relay.request.body import routing

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
USER = {"role": "user", "content": "w"}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
G = {"type": "function", "function": {"name": "g"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[0-9]{3}$"}}}


def amendment(path: str, request: dict[str, Any], *, ours: bool = True) -> Amended | None:
    body = json.dumps(request).encode()
    return amended(path, body, routing(body), "r-1", ours=ours)


def sent(path: str, request: dict[str, Any], *, ours: bool = True) -> dict[str, Any]:
    """What the upstream gets."""
    found = amendment(path, request, ours=ours)
    body: dict[str, Any] = json.loads(found.body) if found else request
    return body


def refused(path: str, request: dict[str, Any]) -> str | None:
    with pytest.raises(InvalidBodyError) as raised:
        amendment(path, request)
    assert raised.value.param and raised.value.param.split(".")[0].split("[")[0] in str(raised.value)
    return raised.value.param


def history(**function: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f"} | function}
    return {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]}


@pytest.mark.parametrize(
    ("path", "request_body"),
    [
        (CHAT, {"messages": [USER], "stop": ["a"], "n": 1, "stream": True, "tools": [F], "tool_choice": "auto"}),
        (CHAT, {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}),
        (CHAT, history(arguments='{"a": 1}')),
        (CHAT, history(arguments="{broken")),
        (COMPLETIONS, {"prompt": "a", "max_tokens": 1}),
        (EMBEDDINGS, {"input": ["a", "b"]}),
        ("/completion", {"prompt": ["a", "b"], "stop": "", "n": 2}),
    ],
)
def test_a_plain_request_is_left_alone(path: str, request_body: dict[str, Any]) -> None:
    assert amendment(path, request_body) is None


CONTINUED = {"messages": [USER, {"role": "assistant", "content": "<tool_call>"}], "stream": True, "tools": [F]}


def test_the_prefilled_part_of_a_call_is_asked_for() -> None:
    assert sent(CHAT, CONTINUED | {"continue_final_message": True})["echo"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"continue_final_message": False},
        {"stream": False},
        {"tools": []},
        {"echo": True},
        {"messages": [USER]},
        {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "x"}]}]},
    ],
)
def test_no_other_stream_is_asked_to_repeat_what_was_sent(change: dict[str, Any]) -> None:
    assert amendment(CHAT, CONTINUED | {"continue_final_message": True} | change) is None
    assert amendment(CHAT, CONTINUED | {"continue_final_message": True}, ours=False) is None
    assert amendment(CHAT, CONTINUED) is None


@pytest.mark.parametrize("function", [{"arguments": ""}, {"arguments": None}, {}, {"arguments": " \n"}])
@pytest.mark.parametrize("ours", [True, False])
def test_empty_arguments_are_an_empty_object(function: dict[str, Any], ours: bool) -> None:
    messages = sent(CHAT, history(**function), ours=ours)["messages"]
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert messages[0] == USER and messages[1]["content"] is None


def test_nulls_are_left_out_but_of_content_and_schemas() -> None:
    said = {"role": "assistant", "content": "x", "name": None, "reasoning_content": None, "tool_calls": None}
    default = {"type": "object", "properties": {"a": {"default": None}}}
    tool = {"type": "function", "function": {"name": "f", "description": None, "strict": None, "parameters": default}}
    call = {"id": None, "function": {"name": "f", "arguments": "{}"}}
    asked = {"messages": [USER, said, {"role": "assistant", "content": None, "tool_calls": [call]}], "tools": [tool]}
    body = sent(CHAT, asked | {"reasoning_format": None, "seed": None})
    assert body.keys() == {"messages", "tools"}
    assert body["messages"][1] == {"role": "assistant", "content": "x"}
    [mended] = body["messages"][2]["tool_calls"]
    assert mended["type"] == "function" and mended["id"]
    assert body["tools"] == [{"type": "function", "function": {"name": "f", "parameters": default}}]


def test_a_null_within_a_text_is_no_null() -> None:
    assert amendment(CHAT, {"messages": [{"role": "user", "content": 'null, "tool_calls"'}]}) is None


@pytest.mark.parametrize(("stop", "kept"), [("", None), ([""], None), (["", "a"], ["a"])])
def test_an_empty_stop_word_stops_nothing(stop: Any, kept: Any) -> None:
    for path, asked in ((CHAT, {"messages": [USER]}), (COMPLETIONS, {"prompt": "a"})):
        assert sent(path, asked | {"stop": stop}).get("stop") == kept


def test_functions_are_tools_with_one_call() -> None:
    past = [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}]
    past.append({"role": "function", "name": "f", "content": "1"})
    functions = [F["function"], G["function"]]
    body = sent(CHAT, {"messages": [USER, *past], "functions": functions, "function_call": {"name": "g"}})
    assert "functions" not in body and "function_call" not in body
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([G], "required", False)
    [call] = body["messages"][1]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": "{}"}
    assert body["messages"][2]["role"] == "tool" and body["messages"][2]["tool_call_id"] == call["id"]
    assert sent(CHAT, {"messages": [USER], "functions": functions, "function_call": "none"})["tool_choice"] == "none"


@pytest.mark.parametrize(
    ("choice", "names", "word"),
    [
        ({"type": "function", "function": {"name": "g"}}, ["g"], "required"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [F]}}, ["f"], "auto"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [F, G]}}, ["f", "g"], "required"),
    ],
)
def test_a_choice_of_tools_leaves_the_others_out(choice: Any, names: list[str], word: str) -> None:
    asked = {"messages": [USER], "tools": [F, G], "tool_choice": choice}
    body = sent(CHAT, asked)
    assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (names, word)
    assert sent(CHAT, asked, ours=False) == asked


@pytest.mark.parametrize(
    "written",
    [
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_schema", "name": "response", "schema": SCHEMA},
        {"type": "json_schema", "json_schema": SCHEMA},
    ],
)
def test_a_schema_is_nested_where_it_is_looked_for(written: dict[str, Any]) -> None:
    nested = {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}
    assert sent(CHAT, {"messages": [USER], "response_format": written})["response_format"] == nested
    assert sent(COMPLETIONS, {"prompt": "a", "response_format": written}) == {"prompt": "a", "json_schema": SCHEMA}


def strict(pattern: str, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "pattern": pattern}}}}
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema} | more}


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\d{3}-\w+$",
        r"^hello there\!$",
        "[0-9]{3}",
        "^a",
        "a$",
        "^(?=x)x$",
        "^(?<n>a)$",
        r"^[\d]$",
        "^a{x}$",
        "^a]$",
        "^a$b$",
    ],
)
def test_a_strict_pattern_that_no_grammar_is_made_of_is_refused(pattern: str) -> None:
    asked = {"messages": [USER], "response_format": strict(pattern)}
    assert refused(CHAT, asked) == "response_format.json_schema.schema.properties.a.items.pattern"
    assert amendment(CHAT, asked, ours=False) is None
    assert amendment(CHAT, {"messages": [USER], "response_format": strict(pattern, strict=False)}) is None
    schema = strict(pattern)["json_schema"]["schema"]
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}
    assert (
        refused(CHAT, {"messages": [USER], "tools": [tool]})
        == "tools[0].function.parameters.properties.a.items.pattern"
    )


@pytest.mark.parametrize(
    "pattern", ["^[0-9]{3}$", "^(?:a|b)+$", r"^a\.b$", r"^[\]x-]*$", "^.{1,}$", r"^\u0041$", "^a b!$", "^x{,3}$", "^$"]
)
def test_a_pattern_that_is_enforced_passes(pattern: str) -> None:
    assert amendment(CHAT, {"messages": [USER], "response_format": strict(pattern)}) is None


@pytest.mark.parametrize(
    ("path", "request_body", "param"),
    [
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [USER], "functions": [], "function_call": "auto"}, "functions"),
        (CHAT, {"messages": [USER], "functions": "f"}, "functions"),
        (CHAT, {"messages": [USER], "functions": [{"name": "f"}], "tools": [F]}, "functions"),
        (CHAT, {"messages": [USER], "function_call": "auto"}, "function_call"),
        (CHAT, {"messages": [USER], "functions": [{"name": "f"}], "function_call": 5}, "function_call"),
        (CHAT, {"messages": [USER], "functions": [{"name": "f"}], "function_call": {"name": "x"}}, "function_call"),
        (CHAT, {"messages": [USER], "tools": [F], "tool_choice": {"function": {"name": "f"}}}, "tool_choice"),
        (
            CHAT,
            {"messages": [USER], "tools": [F], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        (CHAT, {"messages": [USER], "tool_choice": "required"}, "tool_choice"),
        (CHAT, {"messages": [USER], "tools": [], "tool_choice": "required"}, "tool_choice"),
        (CHAT, {"messages": [USER], "response_format": "json"}, "response_format"),
        (CHAT, {"messages": [USER], "response_format": {"type": "xml"}}, "response_format"),
        (CHAT, {"messages": [USER], "response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (COMPLETIONS, {"prompt": "a", "best_of": 2}, "best_of"),
        (COMPLETIONS, {"prompt": "a", "echo": "yes"}, "echo"),
        (COMPLETIONS, {"prompt": [1, 2], "echo": True}, "echo"),
        (COMPLETIONS, {"prompt": "a", "echo": True, "logprobs": 1}, "echo"),
        (COMPLETIONS, {"prompt": ["a", "b"], "suffix": "x"}, "prompt"),
        (COMPLETIONS, {"prompt": "a", "suffix": "x", "n": 2}, "n"),
        (COMPLETIONS, {"prompt": "a", "suffix": 5}, "suffix"),
        (EMBEDDINGS, {"input": "a", "dimensions": 0}, "dimensions"),
        (EMBEDDINGS, {"input": "a", "dimensions": "64"}, "dimensions"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(path: str, request_body: dict[str, Any], param: str) -> None:
    assert refused(path, request_body) == param


def test_what_others_may_have_is_left_to_them() -> None:
    asked = {"prompt": "a", "echo": True, "best_of": 2, "suffix": "x"}
    assert amendment(COMPLETIONS, asked, ours=False) is None


def test_what_asks_for_nothing_is_left_out() -> None:
    asked = {"prompt": "a", "echo": False, "best_of": 1, "suffix": "", "response_format": {"type": "text"}}
    assert sent(COMPLETIONS, asked) == {"prompt": "a"}


def test_a_suffix_goes_to_infill() -> None:
    found = amendment(COMPLETIONS, {"prompt": ["def f():"], "suffix": "return x", "max_tokens": 8, "n": 1})
    assert found is not None and found.target == "/infill"
    body = json.loads(found.body)
    assert (body["input_prefix"], body["input_suffix"], body["max_tokens"]) == ("def f():", "return x", 8)
    assert not {"prompt", "suffix", "n"} & body.keys()


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None, "refusal": "No."}, "No."),
        ({"refusal": "No."}, "No."),
        ({"content": "Well.", "refusal": "No."}, "Well."),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, [{"type": "text", "text": "No."}]),
        (
            {"content": [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}]},
            [{"type": "text", "text": "Well."}, {"type": "text", "text": "No."}],
        ),
        ({"content": [{"type": "refusal"}]}, [{"type": "refusal"}]),
        ({"content": "Well.", "refusal": None}, "Well."),
    ],
)
def test_what_the_model_has_refused_stays_in_the_conversation(message: dict[str, Any], content: Any) -> None:
    found = sent(CHAT, {"messages": [USER, {"role": "assistant"} | message, USER]})["messages"][1]
    assert found["content"] == content


def test_a_function_that_is_not_there_is_named_in_the_clients_own_field() -> None:
    assert refused(CHAT, {"messages": [USER], "functions": [{"name": "f"}], "function_call": {"name": "g"}}) == (
        "function_call"
    )


@pytest.mark.parametrize(("name", "value"), [("encoding_format", "x"), ("encoding_format", 5), ("embd_normalize", "x")])
def test_the_form_of_embeddings_is_checked(name: str, value: Any) -> None:
    assert refused(EMBEDDINGS, {"input": "x", name: value}) == name
    assert sent(EMBEDDINGS, {"input": "x", "encoding_format": "base64"})["encoding_format"] == "base64"
