"""Reports of bad requests that llama-server answers with 500 or 501, which SDKs send three times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway, eventually

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
VIDEO = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"content": "no role"}]},
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        *({"messages": user([part])} for part in (IMAGE, VIDEO, SOUND)),
        {"tools": "none"},
        {"tools": [{"type": "function"}]},
        {"json_schema": {"type": "object"}, "grammar": 'root ::= "a"'},
        {"reasoning_format": "zzz"},
    ],
)
def test_a_bad_request_is_the_clients(
    serve: Callable[..., Gateway], models: dict[str, Path], body: dict[str, Any]
) -> None:
    """Whatever llama-server calls it, streamed or not."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    for streamed in (False, True):
        answer = gateway.chat(**{"stream": streamed} | body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text


def test_tools_without_jinja_name_the_entrys_key(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """`--jinja` is nothing that a client, or the reader of a tandem.yaml, has said."""
    gateway = serve(m={"target": {"path": str(models["target"])}, "jinja": False})
    answer = gateway.chat(tools=[TOOL])
    assert answer.status_code == 400 and "jinja: true" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("kind", "flag"), [("embeddings", "--embedding"), ("rerank", "--reranking")])
def test_a_chat_model_says_that_it_is_one(
    serve: Callable[..., Gateway], models: dict[str, Path], kind: str, flag: str
) -> None:
    """Asked for vectors or ranks, once by OpenAI's SDK too, which repeats a 501."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    body = {"model": "m", "input": "x", "query": "x", "documents": ["y"]}
    answer = gateway.client.post(f"/v1/{kind}", json=body)
    assert answer.status_code == 400 and flag in answer.json()["error"]["message"]
    if kind == "embeddings":
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client:
            with pytest.raises(openai.BadRequestError):
                client.embeddings.create(model="m", input="x")
            asked = eventually(
                lambda: len(gateway.logged("POST /v1/embeddings")) > 1 and gateway.logged("POST /v1/embed")
            )
            assert len(asked) == 2  # ours, and one of the SDK's


def test_an_input_above_the_batch_says_what_would_take_it(
    serve: Callable[..., Gateway], models: dict[str, Path]
) -> None:
    """llama-server's 500 would come again."""
    args = ["--embedding", "--pooling", "mean", "--ubatch-size", "64", "--batch-size", "64"]
    gateway = serve(m={"target": {"path": str(models["target"])}, "args": args})
    answer = gateway.client.post("/v1/embeddings", json={"model": "m", "input": "x " * 200})
    message = answer.json()["error"]["message"]
    assert answer.status_code == 400 and "--ubatch-size" in message and " 64." in message
