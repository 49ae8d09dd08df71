"""A real llama-server, through the gateway, with and without a draft."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway, events, eventually

Serve = Callable[..., Gateway]
Models = dict[str, Path]


def entry(path: Path, **more: Any) -> dict[str, Any]:
    return {"target": {"path": str(path)}} | more


def text_of(stream: Any) -> str:
    parsed = [event for event in events(stream) if isinstance(event, dict)]
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in parsed if e["choices"])


def test_stream_through_a_real_engine(serve: Serve, models: Models) -> None:
    """Tokens, usage, [DONE]; `model` is the entry's own name though it was asked for by an alias."""
    gateway = serve(**{"org/tiny": entry(models["target"], aliases=["t"])})
    with gateway.stream("t", max_tokens=12, stream_options={"include_usage": True}) as stream:
        parsed = list(events(stream))
    assert parsed[-1] == "[DONE]"
    chunks = [event for event in parsed if isinstance(event, dict)]
    assert {chunk["model"] for chunk in chunks} == {"org/tiny"}
    assert any(chunk["usage"]["completion_tokens"] == 12 for chunk in chunks if chunk.get("usage"))
    assert eventually(lambda: gateway.metric('completion_tokens_total{alias="org/tiny"}')) == 12


def test_greedy_text_is_the_same_with_and_without_a_draft(serve: Serve, models: Models) -> None:
    """The draft drafts (timings say so, and the metrics), and changes not a letter."""
    draft = {"draft": {"path": str(models["draft"])}}
    gateway = serve(plain=entry(models["target"]), drafted=entry(models["target"], **draft), max_loaded=2)
    body = {"max_tokens": 96, "temperature": 0}
    answers = {name: gateway.chat(name, **body).json() for name in ("plain", "drafted")}
    texts = {name: answer["choices"][0]["message"]["content"] for name, answer in answers.items()}
    assert texts["plain"] == texts["drafted"] and texts["plain"]
    assert answers["drafted"]["timings"]["draft_n"] > 0
    assert "draft_n" not in answers["plain"]["timings"]
    assert (
        gateway.metric('drafted_tokens_total{alias="drafted",mode="draft-simple"}')
        == answers["drafted"]["timings"]["draft_n"]
    )
    with gateway.stream("drafted", **body) as stream:
        assert text_of(stream) == texts["plain"]
    assert gateway.client.get("/slots?model=drafted").json()[0]["speculative"] is True


def test_sharded_model_loads_by_its_first_shard(serve: Serve, models: Models) -> None:
    """The other shards are found by llama-server."""
    assert serve(m=entry(models["sharded"])).chat(max_tokens=2).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/v1/completions", {"prompt": "a", "max_tokens": 3}, "choices"),
        ("/completion", {"prompt": "a", "n_predict": 3}, "content"),
        ("/completion", {"prompt": "a", "n_predict": 3}, "content"),
        ("/v1/responses", {"input": "a", "max_output_tokens": 3}, "output"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}, "content"),
        ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "a"}]}, "input_tokens"),
        ("/v1/chat/completions/input_tokens", {"messages": [{"role": "user", "content": "a"}]}, "input_tokens"),
        ("/v1/responses/input_tokens", {"input": "a"}, "input_tokens"),
        ("/tokenize", {"content": "abc"}, "tokens"),
        ("/detokenize", {"tokens": [300]}, "content"),
        ("/apply-template", {"messages": [{"role": "user", "content": "a"}]}, "prompt"),
    ],
)
def test_every_relayed_endpoint_answers(loaded: Gateway, path: str, body: dict[str, Any], key: str) -> None:
    """Paths are kept; the engine answers each as it does directly."""
    answer = loaded.client.post(path, json=body | {"model": "m"})
    assert answer.status_code == 200, answer.text
    assert key in answer.json()


@pytest.fixture(scope="module", params=["embedded", "binary"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Models) -> Any:
    """One gateway for the questions that change nothing."""
    from tests.engine.conftest import ENGINES

    if request.param not in ENGINES:
        pytest.skip("no llama-server binary here; make llama-server builds one")
    folder = tmp_path_factory.mktemp("loaded")
    gateway = Gateway(
        folder, llama_server=ENGINES[request.param], models={"m": entry(models["target"], ctx_size=512, threads=1)}
    )
    yield gateway
    gateway.close()


def test_props_and_slots_by_alias(loaded: Gateway) -> None:
    """GET by ?model=, and without it where there is one model only."""
    assert loaded.client.get("/props?model=m").json()["total_slots"] == 1
    assert len(loaded.client.get("/slots").json()) == 1


def test_models_row_tells_the_slots_context(loaded: Gateway) -> None:
    """context_length is what one request can use."""
    row = loaded.client.get("/v1/models/m").json()
    assert row["context_length"] == row["max_model_len"] == 512
    assert row["meta"]["n_ctx_train"] == 2048


def test_context_overflow_keeps_the_engines_400(loaded: Gateway) -> None:
    """The engine's own words, for streams and others."""
    for stream in (False, True):
        answer = loaded.chat("m", messages=[{"role": "user", "content": "word " * 2000}], stream=stream)
        assert answer.status_code == 400
        assert "exceeds the available context size" in answer.json()["error"]["message"]


def test_embeddings_and_reranking(serve: Serve, models: Models) -> None:
    """An entry's args turn the endpoints on."""
    gateway = serve(
        e=entry(models["target"], args=["--embeddings", "--pooling", "mean"]),
        r=entry(models["target"], args=["--reranking"]),
        max_loaded=2,
    )
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client:
        assert len(client.embeddings.create(model="e", input="abc", encoding_format="float").data[0].embedding) == 64
    answer = gateway.client.post("/v1/rerank", json={"model": "r", "query": "a", "documents": ["b", "c"]})
    assert answer.status_code in (200, 400, 500, 501), answer.text
    assert "results" in answer.json() or "error" in answer.json()


def test_client_that_leaves_frees_a_real_slot(serve: Serve, models: Models) -> None:
    """The engine stops generating within a moment."""
    gateway = serve(m=entry(models["target"], ctx_size=2048))
    with gateway.stream(max_tokens=1900) as stream:
        parsed = events(stream)
        next(parsed)
    left = time.monotonic()
    eventually(lambda: not gateway.client.get("/slots?model=m").json()[0]["is_processing"])
    print(f"slot free {time.monotonic() - left:.3f} s after the client left")


def test_plan_is_a_command_line_that_runs(serve: Serve, models: Models) -> None:
    """What `plan` prints is what is run: pasted into a shell it starts the same engine."""
    import sys

    gateway = serve(a=entry(models["target"]), b=entry(models["target"]))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app", "plan", "a", "--config", str(gateway.config)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 1
    gateway.chat("a", max_tokens=1)
    (pid,) = gateway.engines
    running = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    import shlex

    # Where the gateway keeps conversations is its own affair
    at = running.index("--slot-save-path")
    assert shlex.split(done.stdout) == running[:at] + running[at + 2 :]


def test_streamed_bytes_are_the_engines(loaded: Gateway) -> None:
    """Chunks through the gateway are valid events with llama-server's own extra fields."""
    with loaded.stream("m", max_tokens=4) as stream:
        raw = b"".join(stream.iter_raw())
    last = [line for line in raw.split(b"\n\n") if line.startswith(b"data: {")][-1]
    assert "timings" in json.loads(last.removeprefix(b"data: "))
