"""A repo's files as the models that a person can choose from."""

import pytest

from app.errors import StoreError
from app.models.hub.quantizations import quantizations

SHARDS = {f"UD-Q2_K_XL/GLM-UD-Q2_K_XL-0000{no}-of-00003.gguf": 45 for no in (1, 2, 3)}
OTHERS = {"GLM-Q4_K_M.gguf": 70, "README.md": 1, "mmproj-BF16.gguf": 2, "imatrix_unsloth.gguf": 3}


def test_shards_are_one_model_and_the_smallest_comes_first() -> None:
    """What is no model is left out."""
    offered = quantizations(SHARDS | OTHERS)
    assert [
        (quantization.name, quantization.size, len(quantization.paths), quantization.complete)
        for quantization in offered
    ] == [
        ("Q4_K_M", 70, 1, True),
        ("UD-Q2_K_XL", 135, 3, True),
    ]
    assert offered[1].paths == tuple(SHARDS)


def test_an_upload_that_is_not_whole_is_said() -> None:
    """It is shown, and cannot be pulled."""
    (quantization,) = quantizations(dict(list(SHARDS.items())[:2]))
    assert not quantization.complete and len(quantization.paths) == 2


def test_names_that_are_none_or_not_of_one_model_become_paths() -> None:
    """`hf:org/repo:Q4_K_M` would mean two models."""
    offered = quantizations({"a-Q4_K_M.gguf": 1, "b/c-q4_k_m.gguf": 2, "plain.gguf": 3, "d-Q8_0.gguf": 4})
    assert [quantization.name for quantization in offered] == ["a-Q4_K_M", "b/c-q4_k_m", "plain", "Q8_0"]


def test_a_hostile_name_is_not_even_shown() -> None:
    """A terminal obeys what is printed on it."""
    with pytest.raises(StoreError, match="unsafe file name"):
        quantizations({"x\x1b]0;owned\x07-Q4_K_M.gguf": 1})
