"""Which repos of the Hub may hold a draft for a model, by their names."""

import pytest

from app.pulls.offers import family_of, smaller

HUB = [
    "unsloth/Qwen3-32B-GGUF",
    "Qwen/Qwen3-0.6B-GGUF",
    "unsloth/Qwen3-0.6B-GGUF",
    "unsloth/Qwen3-1.7B-GGUF",
    "unsloth/Qwen3-14B-GGUF",
    "Qwen/Qwen3-Embedding-0.6B-GGUF",
    "unsloth/Qwen3-VL-2B-Instruct-GGUF",
    "unsloth/Llama-3.3-70B-Instruct-GGUF",
    "bartowski/Llama-3.2-1B-Instruct-GGUF",
    "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
    "unsloth/gemma-3-270m-it-GGUF",
    "unsloth/gemma-3-27b-it-GGUF",
    "org/without-a-size-GGUF",
]


@pytest.mark.parametrize(
    ("repo", "family"),
    [
        ("unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF", "Qwen3"),
        ("unsloth/Llama-3.3-70B-Instruct-GGUF", "Llama-3"),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "Llama-3"),
        ("unsloth/gemma-3-27b-it-GGUF", "gemma-3"),
        ("Qwen/Qwen2.5-7B-Instruct-GGUF", "Qwen2"),
        ("ggml-org/gpt-oss-120b-GGUF", "gpt"),
        ("org/Mistral-7B-v0.3-GGUF", "Mistral"),
        ("org/123", "org/123"),
    ],
)
def test_a_family_is_what_stands_before_versions_and_sizes(repo: str, family: str) -> None:
    assert family_of(repo) == family


@pytest.mark.parametrize(
    ("repo", "drafts"),
    [
        (
            "unsloth/Qwen3-32B-GGUF",
            ["unsloth/Qwen3-0.6B-GGUF", "unsloth/Qwen3-1.7B-GGUF", "Qwen/Qwen3-0.6B-GGUF"],
        ),
        (
            "unsloth/Llama-3.3-70B-Instruct-GGUF",
            ["bartowski/Llama-3.2-1B-Instruct-GGUF", "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF"],
        ),
        ("unsloth/gemma-3-27b-it-GGUF", ["unsloth/gemma-3-270m-it-GGUF"]),
        ("unsloth/Qwen3-0.6B-GGUF", []),
    ],
)
def test_drafts_are_of_the_family_and_much_smaller(repo: str, drafts: list[str]) -> None:
    """Of the same owner first, the smallest first; what embeds, reranks or sees is none."""
    assert smaller(repo, HUB) == drafts
