"""The pattern of an entry that stands for just the files that were pulled."""

import pytest
import yaml

from app.cli.add_entry import NewEntry, include_of
from app.cli.importer.yaml import as_yaml
from app.models.download.pull_item import PullItem
from app.models.gguf.filenames import choose

SHARDS = [f"UD/m-Q2_K-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("paths", [["m-Q2_K.gguf"], SHARDS, ["a[1]*-Q2_K.gguf"], [f"[v2]/{path}" for path in SHARDS]])
def test_it_matches_what_was_pulled_and_nothing_else(paths: list[str]) -> None:
    """Names may have in them what a pattern takes for more than itself."""
    include = include_of(PullItem("org/m", quantization="Q2_K"), paths)
    assert choose([*paths, "a1b-Q2_K.gguf", "m-Q4_K_M.gguf", "2/UD/m-Q2_K-00001-of-00003.gguf"], include, None) == paths


def test_a_persons_own_pattern_stays() -> None:
    assert include_of(PullItem("org/m", include="*Q2*"), SHARDS) == "*Q2*"


@pytest.mark.parametrize("pattern", ["*Q2*", 'a"b\\c: #', "[[]v2]/m-*", "\N{LLAMA}/\N{GREEK SMALL LETTER ALPHA}*"])
def test_the_entry_to_paste_is_what_is_meant(pattern: str) -> None:
    text = as_yaml({"org/m": NewEntry("org/m-GGUF", pattern, "mmproj-F16.gguf").parts})
    assert yaml.safe_load(text) == {
        "models": {
            "org/m": {
                "target": {"repo": "org/m-GGUF", "include": pattern},
                "mmproj": {"repo": "org/m-GGUF", "include": "mmproj-F16.gguf"},
            }
        }
    }
