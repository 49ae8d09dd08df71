"""What may be meant by a name."""

import pytest

from app.config.suggestions import FILES, did_you_mean, nearest, nearest_model


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ctx-size", "ctx_size"), ("CTX_SIZE", "ctx_size"), ("ctx_sze", "ctx_size"), ("draft", "draft"), ("zzz", None)],
)
def test_the_nearest(name: str, meant: str | None) -> None:
    assert nearest(name, ["ctx_size", "draft", "port"]) == meant


def test_files_are_not_like_each_other_by_their_ending() -> None:
    assert nearest("no.yaml", ["tandem.yaml"], FILES) is None
    assert nearest("tandm.yaml", ["tandem.yaml"], FILES) == "tandem.yaml"


def test_the_end_of_a_sentence() -> None:
    assert did_you_mean("prot", ["port"]) == "; did you mean port?" and did_you_mean("x", ["port"]) == ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("unsloth/GLM-4.7", "unsloth/GLM-4.7"),
        ("unsloth/glm-4_7", "unsloth/GLM-4.7"),
        ("GLM-4.7", "unsloth/GLM-4.7"),
        ("zai-org/GLM-4.7", "unsloth/GLM-4.7"),
        ("glm", "unsloth/GLM-4.7"),
        ("gemm", "gemma"),
        ("gema", "gemma"),
        ("gemma:plian", "gemma"),
        ("uns/GLM-47", "unsloth/GLM-4.7"),
        ("gpt-4o-mini", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_a_model_may_be_meant_by_a_part_of_its_name(name: str, meant: str | None) -> None:
    """Case, the organization and a letter aside."""
    assert nearest_model(name, ["unsloth/GLM-4.7", "gemma"]) == meant


def test_among_very_many_names_only_parts_and_cases_count() -> None:
    """A comparison letter by letter with each would keep other clients waiting."""
    known = [f"org/model-{number}" for number in range(600)]
    assert nearest_model("MODEL_17", known) == "org/model-17" and nearest_model("modle-17", known) is None
