"""Reports of requests that llama-server answers with 500, or with 200 and without what was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway, eventually

USER = {"role": "user", "content": "w"}
# Wants arguments as an object, as Qwen2.5's template does
OBJECTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + (m.content or '') }}"
    "{% for call in m.tool_calls or [] %}{{ '<tool_call>' + call.function.name + (call.function.arguments | tojson) }}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def history(**function: Any) -> list[dict[str, Any]]:
    call = {"id": "c", "type": "function", "function": {"name": "f"} | function}
    return [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_with_a_bad_tool_call_is_not_stuck(
    serve: Callable[..., Gateway], models: dict[str, Path], tmp_path: Path, stream: bool
) -> None:
    """Empty arguments are none; broken ones are named where the template has to read them, and pass elsewhere."""
    template = tmp_path / "objects.jinja"
    template.write_text(OBJECTS)
    target = {"target": {"path": str(models["target"])}}
    gateway = serve(max_loaded=2, t=target | {"args": ["--chat-template-file", str(template)]}, m=target)
    for function in ({"arguments": ""}, {"arguments": None}, {}, {"arguments": '{"a": 1}'}):
        for name in ("t", "m"):
            answer = gateway.chat(name, messages=history(**function), stream=stream, max_tokens=1)
            assert answer.status_code == 200, answer.text
    answer = gateway.chat("t", messages=history(arguments="{bad"), stream=stream, max_tokens=1)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == "messages[1].tool_calls[0].function.arguments"
    assert "json.exception" not in error["message"] and error["code"] == "invalid_value"
    assert gateway.chat("m", messages=history(arguments="{bad"), stream=stream, max_tokens=1).status_code == 200


def test_a_message_as_an_sdk_dumps_it_can_be_sent_again(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """With all the nulls of `model_dump()`."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        said: Any = (
            client.chat.completions.create(model="m", messages=[USER], max_tokens=1).choices[0].message.model_dump()
        )
        again: Any = [USER, said | {"reasoning_content": None, "name": None}, USER]
        assert client.chat.completions.create(model="m", messages=again, max_tokens=1).choices


def test_usage_is_that_of_all_choices_and_prompts(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """In the answer, in streams, and in the metrics that the ledger is written from."""
    gateway = serve(m={"target": {"path": str(models["target"])}, "parallel": 2, "ctx_size": 1024})
    asked: list[tuple[str, dict[str, Any], int]] = [
        ("/v1/chat/completions", {"messages": [USER], "n": 2}, 10),
        ("/v1/completions", {"prompt": ["abc", "de"]}, 10),
        ("/v1/completions", {"prompt": ["abc", "de"], "n": 2}, 20),
    ]
    counted = 0
    for path, body, tokens in asked:
        body |= {"model": "m", "max_tokens": 5, "ignore_eos": True}
        usage = gateway.client.post(path, json=body).json()["usage"]
        assert (usage["completion_tokens"], usage["total_tokens"]) == (tokens, usage["prompt_tokens"] + tokens)
        stream = gateway.client.post(path, json=body | {"stream": True, "stream_options": {"include_usage": True}}).text
        assert "data: null" not in stream and stream.endswith("data: [DONE]\n\n")
        events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
        told = [event["usage"] for event in events if event.get("usage")]
        assert [each["completion_tokens"] for each in told] == [tokens]
        assert told[0]["prompt_tokens"] == usage["prompt_tokens"]
        counted += 2 * tokens
        unasked = gateway.client.post(path, json=body | {"stream": True})
        assert unasked.status_code == 200
        counted += tokens
    line = 'tokens_total{alias="m",kind="completion"}'
    assert eventually(lambda: counted in (gateway.metric(line), _completion_tokens(gateway)))


def _completion_tokens(gateway: Gateway) -> float:
    lines = [line for line in gateway.log if "completion_tokens" in line]
    return sum(float(line["completion_tokens"]) for line in lines)


def test_tools_that_the_template_does_not_know(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """Refused where one has to be called; else told once in the log, and in the list."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    named = {"type": "function", "function": {"name": "f"}}
    for choice in ("required", named):
        answer = gateway.chat(tools=[TOOL], tool_choice=choice, max_tokens=1)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "tool_choice", answer.text
    assert "warning" not in gateway.client.get("/v1/models/m").json()
    for _ in range(2):
        assert gateway.chat(tools=[TOOL], max_tokens=1).status_code == 200
    assert "tools" in gateway.client.get("/v1/models/m").json()["warning"]
    assert len(eventually(lambda: gateway.logged("got a request with tools"))) == 1


def test_embeddings_are_as_long_as_was_asked(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """OpenAI's SDK, which asks for base64, and Ollama's API."""
    gateway = serve(e={"target": {"path": str(models["target"])}, "args": ["--embeddings", "--pooling", "mean"]})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.embeddings.create(model="e", input="a").data[0].embedding
        short = client.embeddings.create(model="e", input=["a", "b"], dimensions=8).data[0].embedding
        assert len(short) == 8 and sum(number * number for number in short) == pytest.approx(1, abs=1e-5)
        assert short[0] / short[1] == pytest.approx(whole[0] / whole[1], rel=1e-4)
        answer = gateway.client.post("/api/embed", json={"model": "e", "input": "a", "dimensions": 8}).json()
        assert answer["embeddings"][0] == pytest.approx(short, abs=1e-5)
        with pytest.raises(openai.BadRequestError, match="vectors have only 64 numbers"):
            client.embeddings.create(model="e", input="a", dimensions=65)


def test_a_format_holds_wherever_it_is_written(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """Beside `type`, in `json_schema` itself, and in a text completion."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["yes"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    for written in ({"schema": schema}, {"json_schema": schema}, {"json_schema": {"name": "x", "schema": schema}}):
        response_format = {"type": "json_schema"} | written
        said = gateway.chat(response_format=response_format, max_tokens=100).json()["choices"][0]["message"]["content"]
        assert json.loads(said) == {"a": "yes"}
        body = {"model": "m", "prompt": "x", "response_format": response_format, "max_tokens": 100}
        assert json.loads(gateway.client.post("/v1/completions", json=body).json()["choices"][0]["text"]) == {
            "a": "yes"
        }
