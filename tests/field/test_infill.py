"""Reports of `suffix` in completions, which llama-server ignores: editors want the text between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.support import tiny_models
from tests.support.gateway import Gateway


def test_a_suffix_is_what_follows_the_text(serve: Callable[..., Gateway], tmp_path: Path) -> None:
    """Both sides count as the prompt; streamed and not, with the limit of OpenAI's field."""
    model = tiny_models.write_infill(tmp_path / "infill.gguf")
    gateway = serve(m={"target": {"path": str(model)}, "temp": 0})
    body = {"model": "m", "prompt": "def f():", "suffix": "return x", "max_tokens": 4}
    whole = gateway.client.post("/v1/completions", json=body).json()
    [choice] = whole["choices"]
    assert whole["object"] == "text_completion" and len(choice["text"]) >= 4 and choice["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 4
    alone = gateway.client.post("/v1/completions", json=body | {"suffix": ""}).json()
    assert whole["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]
    stream = gateway.client.post("/v1/completions", json=body | {"stream": True}).text
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == choice["text"]
    assert stream.endswith("data: [DONE]\n\n")


def test_a_model_without_the_tokens_says_so(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    gateway = serve(m={"target": {"path": str(models["target"])}})
    answer = gateway.client.post("/v1/completions", json={"model": "m", "prompt": "a", "suffix": "b"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "suffix")
