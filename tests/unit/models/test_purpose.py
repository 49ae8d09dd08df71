"""What a model is served for: its entry first, then its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config.model_entry import LocalEntry
from app.models.gguf.header import Header
from app.models.purpose import Purpose, header_of, purpose
from tests.support.headers import write_header


def entry(**keys: Any) -> LocalEntry:
    return LocalEntry.model_validate({"target": {"path": "/x"}} | keys)


def header(architecture: str = "qwen3", **metadata: Any) -> Header:
    return Header(Path("x"), 3, 0, 0, {"general.architecture": architecture} | metadata)


def pooled(number: int) -> Header:
    return header(**{"qwen3.pooling_type": number})


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (None, Purpose.COMPLETION),
        (header(), Purpose.COMPLETION),
        (pooled(0), Purpose.COMPLETION),
        (pooled(1), Purpose.EMBEDDING),
        (pooled(3), Purpose.EMBEDDING),
        (pooled(4), Purpose.RERANK),
        (pooled(99), Purpose.COMPLETION),
        (header(**{"bert.pooling_type": 1}), Purpose.COMPLETION),
        (header("nomic-bert"), Purpose.EMBEDDING),
        (header("bert", **{"bert.pooling_type": 4}), Purpose.RERANK),
    ],
)
def test_the_header_says_what_a_file_is_for(read: Header | None, expected: Purpose) -> None:
    """By its own architecture's key; an encoder completes nothing, whatever it leaves unsaid."""
    assert purpose(entry(), read) is expected


@pytest.mark.parametrize(
    ("keys", "read", "expected"),
    [
        ({"args": ["--embeddings"]}, header(), Purpose.EMBEDDING),
        ({"args": ["--embedding"]}, pooled(4), Purpose.EMBEDDING),
        ({"args": ["--rerank"]}, pooled(1), Purpose.RERANK),
        ({"args": ["--embedding", "--pooling", "rank"]}, header(), Purpose.RERANK),
        ({"args": ["--pooling", "mean"]}, pooled(4), Purpose.EMBEDDING),
        ({"args": ["--pooling", "rank"]}, pooled(1), Purpose.RERANK),
        ({"args": ["--pooling", "none"]}, pooled(1), Purpose.COMPLETION),
        ({"args": ["--pooling", "mean"]}, header(), Purpose.COMPLETION),
        ({"env": {"LLAMA_ARG_RERANKING": "on"}}, header(), Purpose.RERANK),
        ({"env": {"LLAMA_ARG_EMBEDDINGS": "0"}}, header(), Purpose.COMPLETION),
        ({"env": {"LLAMA_ARG_POOLING": "none"}}, pooled(1), Purpose.COMPLETION),
    ],
)
def test_what_an_entry_says_wins(keys: dict[str, Any], read: Header, expected: Purpose) -> None:
    """In args or in env; only a pooling on its own goes with what the header says."""
    assert purpose(entry(**keys), read) is expected


def test_a_header_is_read_again_when_the_file_has_changed(tmp_path: Path) -> None:
    """And what cannot be read says nothing."""
    path = tmp_path / "m.gguf"
    assert header_of(path) is None
    write_header(path, {"llama.pooling_type": 1})
    first = header_of(path)
    assert first is not None and header_of(path) is first
    write_header(path, {"llama.pooling_type": 4, "general.name": "other"})
    second = header_of(path)
    assert second is not None and purpose(entry(), second) is Purpose.RERANK
