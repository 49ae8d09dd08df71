"""A model's size and quantization in the words of Ollama's clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.models.gguf.header import Header
from app.models.gguf.in_words import parameters_in_words, quantization_in_words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, ""),
        (0, ""),
        (999, "999"),
        (134_515_328, "134.52M"),
        (8_030_261_248, "8.0B"),
        (1_026_000_000_000, "1.0T"),
        (15_000, "15.00K"),
    ],
)
def test_parameters_are_rounded_as_ollama_does(count: int | None, words: str) -> None:
    assert parameters_in_words(count) == words


@pytest.mark.parametrize(
    ("name", "file_type", "words"),
    [
        ("tiny-Q4_K_M.gguf", 7, "Q4_K_M"),
        ("sha256-abc", 15, "Q4_K_M"),
        ("tiny.gguf", 0, "F32"),
        ("tiny.gguf", 999, ""),
        ("tiny.gguf", None, ""),
    ],
)
def test_the_name_tells_else_the_file(name: str, file_type: int | None, words: str) -> None:
    header = Header(Path(name), 3, 0, 0)
    if file_type is not None:
        header.metadata["general.file_type"] = file_type
    assert quantization_in_words(header) == words


def test_nothing_is_said_of_what_nobody_has_read() -> None:
    assert quantization_in_words(None) == ""
