"""Log probabilities under speculation: llama-server gets them wrong, so they are refused or asked of a plain engine."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, header_only

Make = Callable[..., Gateway]


def drafted(make: Make, folder: Path, **speculation: Any) -> Gateway:
    files = {name: {"path": str(header_only(folder / f"{name}.gguf"))} for name in ("target", "draft")}
    return make(models={"m": files | {"speculation": {"mode": "draft-simple"} | speculation}})


@pytest.fixture(scope="module")
def speculating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With nothing said of log probabilities."""
    folder = tmp_path_factory.mktemp("speculating")
    made = drafted(partial(Gateway, folder), folder)
    yield made
    made.close()


@pytest.mark.parametrize("asked", [{"logprobs": True}, {"logprobs": 3}, {"top_logprobs": 2}, {"n_probs": 5}])
def test_refused_by_default(speculating: Gateway, asked: dict[str, Any]) -> None:
    """400 that names the way out, which works."""
    gateway = speculating
    answer = gateway.chat(**asked)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "logprobs_under_speculation", "logprobs")
    assert "'m:plain'" in error["message"]
    assert gateway.chat("m:plain", **asked).status_code == 200
    assert gateway.chat(logprobs=False, top_logprobs=None).status_code == 200


def test_served_by_the_plain_variant(make_gateway: Make, tmp_path: Path) -> None:
    """on_logprobs: plain; the answer says who gave it."""
    gateway = drafted(make_gateway, tmp_path, on_logprobs="plain")
    assert gateway.chat(logprobs=True).json()["model"] == "m:plain"
    assert gateway.chat().json()["model"] == "m"


def test_passed_on_request(make_gateway: Make, tmp_path: Path) -> None:
    """on_logprobs: pass; wrong numbers, as asked."""
    assert drafted(make_gateway, tmp_path, on_logprobs="pass").chat(logprobs=True).json()["model"] == "m"


def test_an_engine_that_does_not_speculate_is_right(plain: Gateway) -> None:
    """Nothing to refuse."""
    assert plain.chat(logprobs=True).status_code == 200


@pytest.mark.parametrize(
    ("path", "asked", "stream"),
    [
        ("/v1/completions", {"prompt": "a", "logprobs": 2, "stop": ["x"]}, None),
        ("/v1/completions", {"prompt": "a", "n_probs": 2}, None),
        ("/v1/completions", {"prompt": "a", "stop": ["x"]}, True),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "content": "Hello my"}]}, None),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2}, None),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, True),
    ],
)
def test_what_a_stream_would_not_tell_is_asked_once_and_as_it_is(
    plain: Gateway, path: str, asked: dict[str, Any], stream: bool | None
) -> None:
    """Rare fields cost no second request."""
    assert plain.chat(max_tokens=1).status_code == 200  # it is up
    url, _ = plain.engine("m")
    before = httpx2.get(f"{url}/__last_request", trust_env=False).json()["count"]
    answer = plain.client.post(path, json=asked | {"model": "m", "max_tokens": 3})
    assert answer.status_code == 200
    last = httpx2.get(f"{url}/__last_request", trust_env=False).json()
    body = json.loads(last["body"])
    assert (last["count"], body.get("stream")) == (before + 1, stream)
    (choice,) = answer.json()["choices"]
    assert (choice["text"] if "prompt" in asked else choice["message"]["content"]) == "t0 t1 t2"
