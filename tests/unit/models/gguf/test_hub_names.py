"""What people call a repo of the Hub, and what they paste."""

from __future__ import annotations

import pytest

from app.errors import StoreError
from app.models.gguf.filenames import HubName, is_prediction_head, names_a_repo, parse_hub_name

TINY = HubName("acme/Tiny-GGUF")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:acme/Tiny-GGUF", TINY),
        ("acme/Tiny-GGUF", TINY),
        ("hf.co/acme/Tiny-GGUF", TINY),
        ("huggingface.co/acme/Tiny-GGUF/", TINY),
        ("https://huggingface.co/acme/Tiny-GGUF", TINY),
        ("https://www.huggingface.co/acme/Tiny-GGUF?library=llama-cpp#readme", TINY),
        ("http://hf.co/acme/Tiny-GGUF/tree/main", TINY),
        ("https://huggingface.co/acme/Tiny-GGUF/discussions/3", TINY),
        ("https://huggingface.co/acme/Tiny-GGUF/blob/main/README.md", TINY),
        ("acme/Tiny-GGUF:Q4_K_M", HubName("acme/Tiny-GGUF", "Q4_K_M")),
        ("hf.co/acme/Tiny-GGUF:Q4_K_M", HubName("acme/Tiny-GGUF", "Q4_K_M")),
        (
            "https://huggingface.co/acme/Tiny-GGUF/blob/main/Q4%20K/tiny.gguf?download=true",
            HubName("acme/Tiny-GGUF", None, "Q4 K/tiny.gguf"),
        ),
        ("https://huggingface.co/acme/Tiny-GGUF/resolve/main/t.gguf", HubName("acme/Tiny-GGUF", None, "t.gguf")),
    ],
)
def test_a_repo_has_many_names(text: str, name: HubName) -> None:
    """All that search, show, other programs and the Hub's pages print."""
    assert parse_hub_name(text) == name and names_a_repo(text)


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:tiny", "https://huggingface.co/acme", "hf.co/a/b/c", "hf:../../etc", "https://hf.co/a/..", "a/b/c"],
)
def test_what_is_no_repo_is_refused(text: str) -> None:
    """By the text as it was given."""
    with pytest.raises(StoreError, match="is not the name of a repo"):
        parse_hub_name(text)


@pytest.mark.parametrize("text", ["tiny", "models/tiny.gguf", "https://example.com/acme/Tiny", "./acme/Tiny", "a/b/c"])
def test_an_alias_or_a_path_is_no_name_of_the_hub(text: str) -> None:
    """These are looked up elsewhere, and told in the words of that."""
    assert not names_a_repo(text)


@pytest.mark.parametrize(
    ("path", "head"),
    [("mtp-Q8_0.gguf", True), ("a/GLM-4.7-MTP-Q8_0.gguf", True), ("GLM-smtpd-Q4.gguf", False), ("mtp/x.gguf", False)],
)
def test_a_head_for_several_tokens_says_so_in_its_name(path: str, head: bool) -> None:
    """As a word of it."""
    assert is_prediction_head(path) is head
