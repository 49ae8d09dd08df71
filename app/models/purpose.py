"""Determines a model's purpose (completions, embeddings or reranking) from its entry and its header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from app.config.model_entry import LocalEntry
from app.errors import GgufError
from app.models.gguf import header_cache
from app.models.gguf.header import Header
from app.models.gguf.places import ENCODERS

_EMBEDDING = frozenset({"--embedding", "--embeddings"})
_RERANK = frozenset({"--rerank", "--reranking"})
_POOLING = "--pooling"
# llama-server's variables, which an entry's `env` may set. Its `is_truthy` decides which values enable them (b11434).
_VARIABLES = {"LLAMA_ARG_EMBEDDINGS": "--embedding", "LLAMA_ARG_RERANKING": "--reranking"}
_POOLING_VARIABLE = "LLAMA_ARG_POOLING"
_TRUE = frozenset({"on", "enabled", "true", "1"})
# llama.cpp's enum llama_pooling_type
_POOLINGS = ("none", "mean", "cls", "last", "rank")


class Purpose(StrEnum):
    """The values of `capabilities`."""

    COMPLETION = "completion"
    EMBEDDING = "embedding"
    RERANK = "rerank"


def purpose(entry: LocalEntry, header: Header | None) -> Purpose:
    """Returns the purpose by the entry, else by the header. llama-server itself would serve any file for
    completions."""
    words = set(_flags(entry))
    pooling = _pooling(entry)
    if words & _RERANK or (words & _EMBEDDING and pooling == "rank"):
        return Purpose.RERANK
    if words & _EMBEDDING:
        return Purpose.EMBEDDING
    meant = of_header(header) if header is not None else Purpose.COMPLETION
    if meant is Purpose.COMPLETION or pooling is None:
        return meant
    # `--pooling` without `--embedding`: the value none lets such a file complete texts.
    return {"none": Purpose.COMPLETION, "rank": Purpose.RERANK}.get(pooling, Purpose.EMBEDDING)


def is_said(entry: LocalEntry) -> bool:
    """Tells whether the entry itself enables embeddings or reranking."""
    return not _EMBEDDING.isdisjoint(words := set(_flags(entry))) or not _RERANK.isdisjoint(words)


def of_header(header: Header) -> Purpose:
    """Returns the purpose by the header's pooling type, which completion models lack."""
    pooling = pooling_of(header)
    if pooling == "rank":
        return Purpose.RERANK
    if pooling not in (None, "none") or header.architecture in ENCODERS:
        return Purpose.EMBEDDING
    return Purpose.COMPLETION


def pooling_of(header: Header) -> str | None:
    """Returns llama-server's name of the pooling type. None if the header has none, or an unknown one."""
    number = header.number("{arch}.pooling_type")
    return _POOLINGS[number] if number is not None and 0 <= number < len(_POOLINGS) else None


def header_of(path: Path) -> Header | None:
    """Returns the header of a file, or None if it cannot be read: the start of the engine reports that better."""
    with suppress(GgufError):
        return header_cache.header_of(path)
    return None


def _flags(entry: LocalEntry) -> Iterator[str]:
    for arg in entry.args:
        # llama.cpp's own parser accepts --no_x for --no-x
        yield arg.replace("_", "-") if arg.startswith("--") else arg
    for name, flag in _VARIABLES.items():
        if entry.env.get(name, "").lower() in _TRUE:
            yield flag


def _pooling(entry: LocalEntry) -> str | None:
    """Returns the last pooling type set. args win over the environment."""
    values = [value for flag, value in zip(entry.args, entry.args[1:], strict=False) if flag == _POOLING]
    return values[-1] if values else entry.env.get(_POOLING_VARIABLE)
