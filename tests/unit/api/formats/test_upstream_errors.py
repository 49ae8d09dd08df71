"""Golden answers: what each API format makes of llama-server's refusals, as b11434 words them."""

import json
from typing import Any

import pytest

from app.api.formats.anthropic import AnthropicFormat
from app.api.formats.openai import OpenAIFormat, ResponsesFormat
from app.api.formats.upstream_errors import LONGEST_MESSAGE
from app.errors import (
    BodyTooLargeError,
    Diagnosis,
    QueueTimeoutError,
    StartFailedError,
    UnknownAliasError,
    UpstreamDiedError,
)

INVALID = "invalid_request_error"


def refusal(code: int, message: str, kind: str, **more: Any) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "type": kind} | more}).encode()


LONG = "request (1252 tokens) exceeds the available context size (256 tokens), try increasing it"
OVERFLOW = refusal(400, LONG, "exceed_context_size_error", n_prompt_tokens=1252, n_ctx=256)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            refusal(400, "'messages' is required", INVALID),
            (400, "'messages' is required", INVALID, "missing_required_parameter", "messages"),
        ),
        (501, refusal(501, "no", "not_supported_error"), (501, "no", "not_supported_error", "not_supported")),
        (
            503,
            refusal(503, "Loading model", "unavailable_error"),
            (503, "Loading model", "unavailable_error", "engine_unavailable"),
        ),
        (
            500,
            refusal(500, "Context size has been exceeded.", "server_error"),
            (500, None, "server_error", "internal_error"),
        ),
        (502, b"<html>", (502, "The engine answered 502.", "server_error", "upstream_died")),
    ],
)
def test_openai_gets_four_fields(status: int, body: bytes, expected: tuple[int, str | None, str, str, str]) -> None:
    """`code` a word, `param` there, the words llama-server's own."""
    sent, answer = OpenAIFormat().upstream_error(status, body)
    error = json.loads(answer)["error"]
    message = expected[1] or "Context size has been exceeded."
    assert (sent, error) == (
        expected[0],
        {"message": message, "type": expected[2], "param": (*expected, None)[4], "code": expected[3]},
    )


@pytest.mark.parametrize(
    "message",
    [
        "Failed to parse messages: Missing 'role' in message: {}",
        "Failed to parse tools: Expected 'tools' to be an array, got {}; tools = {}",
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "'messages' is required",
        "video input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        "Cannot use both json_schema and grammar",
        "Unknown reasoning format: zzz",
        "vector::_M_range_check: __n (which is 9999999) >= this->size() (which is 512)",
        "Unable to generate parser for this template. Automatic parser generation failed: \n---\nWhile executing",
        "Conversation roles must alternate user/assistant at row 9, column 30:\n{{ raise_exception(",
    ],
)
def test_a_bad_request_is_a_400(message: str) -> None:
    """llama-server answers 500, which SDKs try again and again."""
    for api_format in (OpenAIFormat(), ResponsesFormat(), AnthropicFormat()):
        status, answer = api_format.upstream_error(500, refusal(500, message, "server_error"))
        error = json.loads(answer)["error"]
        assert (status, error["type"], error["message"]) == (400, INVALID, message.partition("; tools = ")[0])


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (500, "tools param requires --jinja flag", ("'tools'", "jinja: true")),
        (500, "tool_choice param requires --jinja flag", ("'tool_choice'", "jinja: true")),
        (
            500,
            "input (702 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            ("702", "512", "--ubatch-size"),
        ),
        (501, "This server does not support embeddings. Start it with `--embeddings`", ("--embedding", "--pooling")),
        (501, "This server does not support reranking. Start it with `--reranking`", ("`rerank`", "--reranking")),
        (501, "This server does not support completions. Start it without `--embeddings`", ("`completion`",)),
        (501, "This server does not support slots action. Start it with `--slot-save-path`", ("--slot-save-path",)),
        (501, "This server does not support metrics endpoint. Start it with `--metrics`", ("--metrics", "endpoint")),
        (501, "The current model does not support audio input.", ("mmproj",)),
        (501, "Infill is not supported by this model: prefix token is missing. ", ("infill",)),
    ],
)
def test_what_an_engine_was_not_started_for_is_said_of_its_entry(
    status: int, message: str, words: tuple[str, ...]
) -> None:
    """A client does not start the engine, so a bare flag tells it nothing; and no SDK asks again."""
    for api_format in (OpenAIFormat(), AnthropicFormat()):
        sent, answer = api_format.upstream_error(status, refusal(status, message, "not_supported_error"))
        error = json.loads(answer)["error"]
        assert (sent, error["type"]) == (400, INVALID)
        assert message not in error["message"] and all(word in error["message"] for word in words)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def tool(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


USER = {"role": "user", "content": "x"}
VALUE, FINAL = "invalid_value", "continue_final_message"
PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{bad"}}
PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "
BROKEN_CALL = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}]}


@pytest.mark.parametrize(
    ("status", "said", "request_body", "words", "param", "code"),
    [
        (
            500,
            "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, "
            "column 2: syntax error while parsing object key - invalid literal; last read: '{b'; expected",
            BROKEN_CALL,
            "is not valid JSON",
            "messages[1].tool_calls[0].function.arguments",
            "invalid_value",
        ),
        (
            400,
            f"{PARSER}JSON schema error at #/properties/city: unrecognized type nope",
            {"tools": [tool({"type": "object"}), tool({"properties": {"city": {"type": "nope"}}})]},
            "is not a usable JSON schema: unrecognized type nope.",
            "tools[1].function.parameters.properties.city",
            "invalid_value",
        ),
        (
            400,
            f"{PARSER}JSON schema error at #/anyOf/1: cannot resolve $ref #/$defs/X, $defs not found",
            {"response_format": {"json_schema": {"schema": {"anyOf": [{}, {"$ref": "#/$defs/X"}]}}}},
            "cannot resolve $ref #/$defs/X",
            "response_format.json_schema.schema.anyOf[1]",
            "invalid_value",
        ),
        (
            400,
            f"{PARSER}JSON schema conversion failed:\nInvalid pattern ^(a$: unbalanced parentheses",
            {"json_schema": {"properties": {"a": {"pattern": "^(a$"}}}},
            "is not a valid pattern: unbalanced parentheses.",
            "json_schema.properties.a.pattern",
            "invalid_value",
        ),
        (
            400,
            f"{PARSER}JSON schema conversion failed: of a kind that is new",
            {"json_schema": {}},
            "JSON schema conversion failed: of a kind that is new",
            None,
            None,
        ),
        (
            400,
            "Failed to initialize samplers: failed to parse grammar",
            {"grammar": "("},
            "GBNF",
            "grammar",
            "invalid_value",
        ),
        (
            400,
            '"json_schema": JSON schema conversion failed:\nJSON schema error at #: schema must be an object',
            {"json_schema": "x"},
            "schema must be an object",
            "json_schema",
            "invalid_value",
        ),
        (
            400,
            '"json_schema": JSON schema error at #/properties/a: unrecognized type nope',
            {"response_format": {"type": "json_schema", "json_schema": {"properties": {"a": {"type": "nope"}}}}},
            "unrecognized type nope",
            "response_format.json_schema.properties.a",
            "invalid_value",
        ),
        (
            400,
            f"{PARSER}JSON schema error at #/properties/a: unrecognized type nope",
            {"functions": [{"name": "f", "parameters": {"properties": {"a": {"type": "nope"}}}}]},
            "unrecognized type nope",
            "functions[0].parameters.properties.a",
            "invalid_value",
        ),
        (
            500,
            "Cannot use both json_schema and grammar",
            {"response_format": {"type": "json_object"}, "grammar": "root ::= 1"},
            "cannot be combined with a schema",
            "grammar",
            "invalid_value",
        ),
        (
            400,
            "Cannot use custom grammar constraints with tools.",
            {"tools": [tool({"type": "object"})], "grammar": "root ::= 1"},
            "cannot be combined with tools",
            "grammar",
            "invalid_value",
        ),
        (
            500,
            "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error",
            {"messages": [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{bad"}}]},
            "is not valid JSON",
            "messages[1].function_call.arguments",
            "invalid_value",
        ),
        *(
            (status, said, request_body, words, place, code)
            for status, said, request_body, words, place, code in (
                (500, "vector::_M_range_check: __n (which is 9)", {"tokens": [9, 1]}, "has 9, which", "tokens", VALUE),
                (
                    400,
                    "[json.exception.type_error.302] type must be array, but is string",
                    {"tokens": "x"},
                    "list",
                    "tokens",
                    VALUE,
                ),
                (
                    500,
                    "Unknown reasoning format: zz",
                    {"reasoning_format": "zz"},
                    "deepseek",
                    "reasoning_format",
                    VALUE,
                ),
                (
                    400,
                    "top_logprobs requires logprobs to be set to true",
                    {"top_logprobs": 1},
                    "'logprobs'",
                    "top_logprobs",
                    VALUE,
                ),
                (
                    400,
                    "logprobs is not supported with tools + stream",
                    {"logprobs": True},
                    "in a stream",
                    "logprobs",
                    VALUE,
                ),
                (
                    400,
                    "Invalid tool_choice: any",
                    {"tool_choice": "any"},
                    "auto, none or required",
                    "tool_choice",
                    VALUE,
                ),
                (400, '"input" or "content" must be provided', {}, "is missing", "input", "missing_required_parameter"),
                (500, "Multimodal data provided, but model", {"prompt": {}}, "has media", "prompt", VALUE),
                (400, f"Cannot set both add_generation_prompt and {FINAL} to true.", {}, "beside", FINAL, VALUE),
                (
                    400,
                    "Cannot continue an assistant message that contains tool calls.",
                    BROKEN_CALL,
                    "has no result",
                    "messages[1].tool_calls[0]",
                    VALUE,
                ),
                (
                    400,
                    "Cannot have 2 or more assistant messages at the end",
                    BROKEN_CALL,
                    "join the two",
                    "messages[1]",
                    VALUE,
                ),
                (
                    400,
                    "file path is not allowed: /etc/x",
                    {"messages": [{"role": "user", "content": [image("file:///etc/x")]}]},
                    "may not read",
                    "messages[0].content[0]",
                    VALUE,
                ),
            )
        ),
        (
            500,
            "tools param requires --jinja flag",
            {"tools": [tool({"type": "object"})]},
            "jinja: true",
            "tools",
            None,
        ),
        (
            400,
            '"prompt" elements must be a string, a list of tokens, a JSON object containing a prompt string, or a list',
            {"input": [1.5]},
            "must be a string",
            "input",
            "invalid_value",
        ),
        *(
            (
                status,
                said,
                {"messages": [{"role": "user", "content": [image(PNG), image(broken)]}]},
                "can be read",
                "messages[0].content[1]",
                "invalid_value",
            )
            for status, said, broken in (
                (500, "Failed to load image or audio file", "data:image/png;base64,AAAA"),
                (500, "Invalid base64 value", "no base64"),
                (400, "Invalid uri-encoded base64 value", "data:image/png;base64,%%"),
                (400, "uri must be base64 encoded", "data:image/png,AAAA"),
            )
        ),
        (
            500,
            "Failed to load image or audio file",
            {"messages": [USER, {"role": "user", "content": [image(PNG)]}]},
            "can be read",
            "messages[1].content[0]",
            "invalid_value",
        ),
        (
            501,
            "Infill is not supported by this model: prefix token is missing. ",
            {"prompt": "a", "suffix": "b"},
            "has no infill tokens",
            "suffix",
            "not_supported",
        ),
        (
            501,
            "Infill is not supported by this model: prefix token is missing. ",
            {"input_prefix": "a", "input_suffix": "b"},
            "no infill tokens",
            "suffix",
            "not_supported",
        ),
        (
            400,
            "Field 'temperature': [json.exception.type_error.302] type must be number, but is string",
            {},
            "'temperature' must be of type number, not string",
            "temperature",
            "invalid_type",
        ),
        (
            400,
            "Field 'n': Value must be between 1 <= value <= 2, but got 9",
            {},
            "'n' must be from 1 to 2, as this model has no more slots; 9 is not",
            "n",
            "invalid_value",
        ),
        (
            400,
            "[json.exception.out_of_range.403] key 'prompt' not found",
            {},
            "'prompt' is missing.",
            "prompt",
            "missing_required_parameter",
        ),
        (
            500,
            "Failed to parse messages: [json.exception.out_of_range.403] key 'text' not found",
            {"messages": [USER, USER | {"content": [{"type": "text", "text": "a"}, {"type": "text"}]}]},
            "must be a string",
            "messages[1].content[1].text",
            "invalid_value",
        ),
        (
            500,
            "Failed to parse messages: [json.exception.type_error.302] type must be string, but is number",
            {"messages": [USER | {"role": 5}]},
            "must be a string",
            "messages[0].role",
            "invalid_value",
        ),
        (
            500,
            "Failed to parse messages: Missing 'role' in message: {}",
            {"messages": [USER, {"content": "x"}]},
            "is missing",
            "messages[1].role",
            "missing_required_parameter",
        ),
        (
            500,
            'Failed to parse tools: Missing tool function: {"type":"function"}; tools = [\n {}\n]',
            {"tools": [CALL, {"type": "function"}]},
            "must be an object",
            "tools[1].function",
            "invalid_value",
        ),
        (
            400,
            "unsupported content[].type",
            {"messages": [USER | {"content": [{"type": "zz"}]}]},
            "must be text",
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            {"messages": [USER, USER | {"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "mmproj",
            "messages[1].content[0]",
            "invalid_value",
        ),
        (400, "Expected 'messages' to be an array", {"messages": "x"}, "must be a list", "messages", "invalid_value"),
        (400, "Prompt contains invalid tokens", {"prompt": [-1]}, "no token", "prompt", "invalid_value"),
        (
            400,
            "[json.exception.type_error.302] type must be string, but is array",
            {"prompt": ["a", "b"]},
            "must be one text",
            "prompt",
            "invalid_value",
        ),
        (400, "Input content cannot be empty", {"input": [[]]}, "empty", "input", "invalid_value"),
        (
            400,
            "All non-assistant messages must contain 'content'",
            {"messages": [{"role": "user", "content": "x"}, "x"]},
            "must be an object",
            "messages[1]",
            "invalid_value",
        ),
        (
            500,
            "Failed to parse messages: Missing 'role' in message: {}",
            {"messages": [{"role": None, "content": "x"}]},
            "is missing",
            "messages[0].role",
            "missing_required_parameter",
        ),
        (400, "Prompt contains invalid tokens", {}, "invalid tokens", None, None),
    ],
)
def test_a_refusal_names_its_place_and_no_library(
    status: int, said: str, request_body: dict[str, Any], words: str, param: str | None, code: str | None
) -> None:
    """As b11434 words them; the place is looked for in the request."""
    body = refusal(status, said, INVALID if status == 400 else "server_error")
    sent, answer = OpenAIFormat().upstream_error(status, body, json.dumps(request_body).encode())
    error = json.loads(answer)["error"]
    assert (sent, error["param"], error["code"]) == (400, param, code)
    assert words in error["message"] and "json.exception" not in error["message"] and "last read" not in answer.decode()
    _, answer = OpenAIFormat().upstream_error(status, body)
    assert "json.exception" not in answer.decode() and "tools = [" not in answer.decode()


@pytest.mark.parametrize("status", range(400, 600))
def test_no_status_is_a_code(status: int) -> None:
    """Whether the server wrote it as a number or as text; what it wrote in words stays."""
    for code in (status, str(status)):
        _, answer = OpenAIFormat().upstream_error(
            status, json.dumps({"error": {"message": "x", "code": code}}).encode()
        )
        told = json.loads(answer)["error"]["code"]
        assert told is None or not told.isdigit()
    _, answer = OpenAIFormat().upstream_error(status, b'{"error": {"message": "x", "code": "too_bad"}}')
    assert json.loads(answer)["error"]["code"] == "too_bad"


def test_a_500_of_the_engines_own_stays_one() -> None:
    """It may pass: every slot shared one pool, or memory was short."""
    status, _ = OpenAIFormat().upstream_error(500, refusal(500, "Context size has been exceeded.", "server_error"))
    assert status == 500


def test_context_overflow_keeps_its_numbers() -> None:
    """And has the code, or the words, that each API's clients look for."""
    _, answer = OpenAIFormat().upstream_error(400, OVERFLOW)
    assert json.loads(answer)["error"] == {
        "message": LONG,
        "type": "exceed_context_size_error",
        "param": None,
        "code": "context_length_exceeded",
        "n_prompt_tokens": 1252,
        "n_ctx": 256,
    }
    _, answer = AnthropicFormat().upstream_error(400, OVERFLOW)
    assert json.loads(answer) == {
        "type": "error",
        "error": {
            "type": INVALID,
            "message": "prompt is too long: 1252 tokens > 256 maximum",
            "n_prompt_tokens": 1252,
            "n_ctx": 256,
        },
    }


def test_an_error_in_openais_shape_passes_as_it_is() -> None:
    """Of a server of others that does it right, byte for byte."""
    body = b'{"error": {"message": "Failed to parse messages:", "type": "t", "param": null, "code": null}, "x": 1}'
    assert OpenAIFormat().upstream_error(500, body) == (500, body)


def test_a_message_that_repeats_the_body_is_cut() -> None:
    """llama-server quotes what it could not read, whatever its size."""
    _, answer = OpenAIFormat().upstream_error(500, refusal(500, "Failed to parse tools: " + "x" * 100_000, "e"))
    assert len(json.loads(answer)["error"]["message"]) == LONGEST_MESSAGE + 1


BUSY = QueueTimeoutError("busy", retry_after=5)
BROKEN = StartFailedError("a", Diagnosis("c", "It broke.", "Mend it.", permanent=True))


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (UnknownAliasError("a", []), 404, "not_found_error"),
        (BodyTooLargeError("x"), 413, "request_too_large"),
        (BUSY, 529, "overloaded_error"),
        (BROKEN, 503, "api_error"),
        (UpstreamDiedError("x"), 502, "api_error"),
        (KeyError("secret"), 500, "api_error"),
    ],
)
def test_anthropics_shape(error: Exception, status: int, kind: str) -> None:
    """`type` beside `error`, the id in the header that its SDKs read, the same in a stream under a name."""
    reply = AnthropicFormat().error(error, request_id="r")
    body = json.loads(reply.body)
    assert (reply.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert dict(reply.headers)[b"request-id"] == dict(reply.headers)[b"x-request-id"] == b"r"
    event = AnthropicFormat().error_event(error)
    assert event == b"event: error\ndata: " + reply.body + b"\n\n"


def test_an_overloaded_upstream_is_told_in_anthropics_number() -> None:
    """A 503 of llama-server that loads, or of a server of others; 529 passes as it is."""
    for status in (503, 529):
        sent, body = AnthropicFormat().upstream_error(status, refusal(status, "Loading model", "unavailable_error"))
        assert (sent, json.loads(body)["error"]["type"]) == (529, "overloaded_error")


def test_responses_events_have_a_type() -> None:
    """Codex reads `type`, OpenAI's SDKs the nested error; whole answers stay OpenAI's."""
    event = ResponsesFormat().upstream_error_event(500, b'{"error":{"code":500,"message":"m","type":"t"}}')
    name, data = event.decode().strip().split("\n")
    event_data = json.loads(data.removeprefix("data: "))
    assert (name, event_data["type"], event_data["code"], event_data["message"], event_data["param"]) == (
        "event: error",
        "error",
        "internal_error",
        "m",
        None,
    )
    assert event_data["error"]["message"] == "m"
