"""Reports of embedding and reranking models that are named like any other and then refuse what they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.tiny_models import write_pooled

DOCUMENTS = {"query": "x", "documents": ["one", "another"]}


@pytest.mark.parametrize("pooling", [1, 2, 3])
def test_a_file_for_embeddings_gives_them(serve: Callable[..., Gateway], tmp_path: Path, pooling: int) -> None:
    """Without a word in its entry; OpenAI's and Ollama's clients see what it can."""
    gateway = serve(e={"target": {"path": str(write_pooled(tmp_path / "e.gguf", pooling))}})
    answer = gateway.client.post("/v1/embeddings", json={"model": "e", "input": ["a", "b"]})
    assert answer.status_code == 200, answer.text
    assert [len(row["embedding"]) for row in answer.json()["data"]] == [64, 64]
    assert gateway.client.get("/v1/models/e").json()["capabilities"] == ["embedding"]
    assert gateway.client.post("/api/show", json={"model": "e"}).json()["capabilities"] == ["embedding"]
    assert len(gateway.client.post("/api/embed", json={"model": "e", "input": "a"}).json()["embeddings"]) == 1
    plan, check = gateway.command("plan", "e"), gateway.command("check", "e")
    words = "target: --embedding added: the file says that the model is for embedding"
    assert words in plan.stderr and words in check.stdout


def test_a_file_for_reranking_ranks(serve: Callable[..., Gateway], tmp_path: Path) -> None:
    """Pooling type 4."""
    gateway = serve(r={"target": {"path": str(write_pooled(tmp_path / "r.gguf", 4))}})
    assert gateway.client.get("/v1/models/r").json()["capabilities"] == ["rerank"]
    answer = gateway.client.post("/v1/rerank", json={"model": "r"} | DOCUMENTS)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 2
    assert "--reranking" in gateway.command("plan", "r").stdout


def test_what_the_entry_says_wins(serve: Callable[..., Gateway], tmp_path: Path) -> None:
    """Such a file can still rank, or complete; the flag is not said twice."""
    target = {"path": str(write_pooled(tmp_path / "e.gguf", 1))}
    gateway = serve(
        ranks={"target": target, "args": ["--reranking"]}, completes={"target": target, "args": ["--pooling", "none"]}
    )
    assert gateway.client.post("/v1/rerank", json={"model": "ranks"} | DOCUMENTS).status_code == 200
    assert gateway.command("plan", "ranks").stdout.count("--rerank") == 1
    assert gateway.client.get("/v1/models/completes").json()["capabilities"] == ["completion"]
    assert gateway.chat("completes", max_tokens=1).status_code == 200
    assert "--embedding" not in gateway.command("plan", "completes").stdout
