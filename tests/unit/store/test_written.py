"""The pattern of an entry that stands for just the files that were pulled."""

import pytest

from app.store.names import choose
from app.store.pull import Wanted
from app.store.written import include_of

SHARDS = [f"UD/m-Q2_K-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("paths", [["m-Q2_K.gguf"], SHARDS, ["a[1]*-Q2_K.gguf"], [f"[v2]/{path}" for path in SHARDS]])
def test_it_matches_what_was_pulled_and_nothing_else(paths: list[str]) -> None:
    """Names may have in them what a pattern takes for more than itself."""
    include = include_of(Wanted("org/m", quantization="Q2_K"), paths)
    assert choose([*paths, "a1b-Q2_K.gguf", "m-Q4_K_M.gguf", "2/UD/m-Q2_K-00001-of-00003.gguf"], include, None) == paths


def test_a_persons_own_pattern_stays() -> None:
    assert include_of(Wanted("org/m", include="*Q2*"), SHARDS) == "*Q2*"
