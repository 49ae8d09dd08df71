"""Reports of fields that had no effect: llama-server ignores a wrong type, and a field where it reads none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.templates import CALLS_TOOLS
from tests.support.wrong_fields import CHAT, RIGHT, WRONG, asked


def test_no_wrong_field_is_ignored(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    gateway = serve(m={"target": {"path": str(models["target"])}})
    for path, name, value, place in WRONG:
        answer = gateway.client.post(path, json={"model": "m"} | asked(path, name, value))
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, place), (name, value, answer.text)
    for name, value in RIGHT:
        answer = gateway.client.post(CHAT, json={"model": "m"} | asked(CHAT, name, value))
        assert answer.status_code == 200, (name, value, answer.text)


def test_chosen_tokens_have_probabilities_without_alternatives(
    serve: Callable[..., Gateway], models: dict[str, Path]
) -> None:
    """`top_logprobs: 0`, streamed and not, and the `include` of a response that names none."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    body = {"logprobs": True, "top_logprobs": 0, "max_tokens": 3, "messages": [{"role": "user", "content": "x"}]}
    told = gateway.chat(**body).json()["choices"][0]["logprobs"]["content"]
    assert len(told) >= 2 and all(token["logprob"] <= 0 and token["top_logprobs"] == [] for token in told)
    stream = gateway.client.post(CHAT, json={"model": "m", "stream": True} | body).text
    assert stream.count('"top_logprobs":[]') >= 2 and stream.count('"logprob":') == stream.count('"top_logprobs":[]')
    request = {"model": "m", "input": "x", "max_output_tokens": 3, "include": ["message.output_text.logprobs"]}
    [item] = gateway.client.post("/v1/responses", json=request).json()["output"]
    assert item["content"][0]["logprobs"] and not any(t["top_logprobs"] for t in item["content"][0]["logprobs"])


def test_thinking_can_be_turned_off_beside_the_messages(
    serve: Callable[..., Gateway], models: dict[str, Path], tmp_path: Path
) -> None:
    """As Alibaba's API has it; templates read it elsewhere."""
    template = tmp_path / "thinks.jinja"
    template.write_text("{{ 'off' if enable_thinking is defined and not enable_thinking else 'on' }}" + CALLS_TOOLS)
    args = ["--chat-template-file", str(template)]
    gateway = serve(m={"target": {"path": str(models["target"])}, "args": args})
    messages = [{"role": "user", "content": "x"}]
    for fields, expected in (
        ({}, "on"),
        ({"enable_thinking": False}, "off"),
        ({"enable_thinking": True}, "on"),
        ({"chat_template_kwargs": {"enable_thinking": None}}, "on"),
    ):
        answer = gateway.client.post("/apply-template", json={"model": "m", "messages": messages} | fields)
        assert answer.json()["prompt"].startswith(expected), (fields, answer.text)
