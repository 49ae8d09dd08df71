"""What a model is served for: completions, embeddings or reranking, by its entry and by its file's header."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from app.config.model_entry import LocalEntry
from app.errors import GgufError
from app.models.gguf.header import Header, read_header

_EMBEDDING = frozenset({"--embedding", "--embeddings"})
_RERANK = frozenset({"--rerank", "--reranking"})
_POOLING = "--pooling"
# llama-server's variables for them, which an entry's `env` may hold; what turns them on is its `is_truthy` (b11434).
_VARIABLES = {"LLAMA_ARG_EMBEDDINGS": "--embedding", "LLAMA_ARG_RERANKING": "--reranking"}
_POOLING_VARIABLE = "LLAMA_ARG_POOLING"
_TRUE = frozenset({"on", "enabled", "true", "1"})
# llama.cpp's enum llama_pooling_type
_POOLINGS = ("none", "mean", "cls", "last", "rank")
# Encoders, which cannot complete anything: llama.cpp's architectures without causal attention and an output layer.
_ENCODERS = frozenset(
    {
        *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3"),
        *("eurobert", "gemma-embedding", "t5encoder", "llama-embed"),
    }
)


class Purpose(StrEnum):
    """In the words of `capabilities`."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANK = "rerank"


def purpose(entry: LocalEntry, header: Header | None) -> Purpose:
    """What the entry says, else what the header says; llama-server alone would serve any file for completions."""
    words = set(_flags(entry))
    pooling = _pooling(entry)
    if words & _RERANK or (words & _EMBEDDING and pooling == "rank"):
        return Purpose.RERANK
    if words & _EMBEDDING:
        return Purpose.EMBEDDING
    meant = of_header(header) if header is not None else Purpose.COMPLETION
    if meant is Purpose.COMPLETION or pooling is None:
        return meant
    # A pooling of one's own without --embedding: none is the way to have such a file complete texts.
    return {"none": Purpose.COMPLETION, "rank": Purpose.RERANK}.get(pooling, Purpose.EMBEDDING)


def is_said(entry: LocalEntry) -> bool:
    """Whether the entry itself turns embeddings or reranking on."""
    return not _EMBEDDING.isdisjoint(words := set(_flags(entry))) or not _RERANK.isdisjoint(words)


def of_header(header: Header) -> Purpose:
    """By the pooling that a file names for its vectors, which models for completions have none of."""
    pooling = pooling_of(header)
    if pooling == "rank":
        return Purpose.RERANK
    if pooling not in (None, "none") or header.architecture in _ENCODERS:
        return Purpose.EMBEDDING
    return Purpose.COMPLETION


def pooling_of(header: Header) -> str | None:
    """The pooling type in llama-server's words; None where the header names none, or one of a later llama.cpp."""
    number = header.number("{arch}.pooling_type")
    return _POOLINGS[number] if number is not None and 0 <= number < len(_POOLINGS) else None


def header_of(path: Path) -> Header | None:
    """The header of a file, remembered while the file stays the same; None where it cannot be read.

    Whoever starts an engine says better what is wrong with its file.
    """
    try:
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns)
    except (OSError, GgufError):
        return None


@lru_cache(maxsize=256)
def _read(path: Path, _size: int, _mtime: int) -> Header:
    """Raises GgufError."""
    return read_header(path)


def _flags(entry: LocalEntry) -> Iterator[str]:
    for arg in entry.args:
        # llama.cpp's own parser takes --no_x for --no-x
        yield arg.replace("_", "-") if arg.startswith("--") else arg
    for name, flag in _VARIABLES.items():
        if entry.env.get(name, "").lower() in _TRUE:
            yield flag


def _pooling(entry: LocalEntry) -> str | None:
    """The last one that is said: args win over the environment."""
    said = [value for flag, value in zip(entry.args, entry.args[1:], strict=False) if flag == _POOLING]
    return said[-1] if said else entry.env.get(_POOLING_VARIABLE)
