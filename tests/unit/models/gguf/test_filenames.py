"""Names: what a person may write, and what the Hub may not."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StoreError
from app.models.gguf.filenames import (
    by_model,
    check_path,
    check_shards,
    choose,
    parse_hub_name,
    quantization_of,
    shard_of,
)

GLM = [f"UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL-0000{no}-of-00003.gguf" for no in (1, 2, 3)]
OTHERS = ["GLM-4.7-Q4_K_M.gguf", "mmproj-BF16.gguf", "README.md", "imatrix_unsloth.gguf"]


@pytest.mark.parametrize(
    ("text", "repo", "quantization"),
    [("hf:unsloth/GLM-4.7-GGUF", "unsloth/GLM-4.7-GGUF", None), ("hf:a/b:UD-Q2_K_XL", "a/b", "UD-Q2_K_XL")],
)
def test_a_hub_name_may_end_in_a_quantization(text: str, repo: str, quantization: str | None) -> None:
    name = parse_hub_name(text)
    assert (name.repo, name.quantization) == (repo, quantization)


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:../..", "hf:a/../b", "hf:a/..", "hf:/etc/passwd", "hf:a/b/c"])
def test_what_is_no_repo_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="must look like"):
        parse_hub_name(text)


@pytest.mark.parametrize(
    "path",
    [
        "../x.gguf",
        "/etc/x.gguf",
        "a/../../x.gguf",
        "a//x.gguf",
        "a\\..\\x.gguf",
        ".tandem/x.gguf",
        "a/.x.gguf",
        "x\n.gguf",
        "x\x00.gguf",
        "x\x1b[2J.gguf",
        "",
        "a/",
        " x.gguf",
        "x" * 300 + ".gguf",
    ],
)
def test_a_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(StoreError, match="unsafe file name"):
        check_path(path)


@given(st.text(max_size=40))
def test_a_path_that_passes_stays_below_its_folder(path: str) -> None:
    try:
        check_path(path)
    except StoreError:
        return
    parts = PurePosixPath("/models").joinpath(path).parts
    assert parts[:2] == ("/", "models") and len(parts) > 2 and ".." not in parts


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        (GLM[0], "UD-Q2_K_XL"),
        ("GLM-4.7-Q4_K_M.gguf", "Q4_K_M"),
        ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
        ("model.IQ2_XXS.gguf", "IQ2_XXS"),
        ("gemma-3-270m-bf16.gguf", "bf16"),
        ("model.gguf", ""),
    ],
)
def test_a_quantization_is_read_from_the_name(path: str, quantization: str) -> None:
    assert quantization_of(path) == quantization


def test_files_are_chosen_as_catalog_entries_choose_them() -> None:
    """A pattern sees the whole path; projectors and matrices are no models."""
    paths = GLM + OTHERS
    assert choose(paths, "*UD-Q2_K_XL*", None) == GLM
    assert choose(paths, None, "ud-q2_k_xl") == GLM
    assert choose(paths, None, "Q2_K_XL") == []
    assert choose(paths, None, None) == sorted([*GLM, OTHERS[0]])


def test_shards_are_gathered_and_counted() -> None:
    assert shard_of(GLM[1]) == (2, 3) and shard_of(OTHERS[0]) is None
    assert list(by_model([*GLM, OTHERS[0]]).values()) == [[OTHERS[0]], GLM]
    check_shards("GLM", GLM)
    check_shards("other", OTHERS[:1])
    with pytest.raises(StoreError, match="2 of 3 shards"):
        check_shards("GLM", GLM[:2])
