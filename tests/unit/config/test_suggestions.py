"""What may be meant by a name."""

import pytest

from app.config.suggestions import FILES, did_you_mean, nearest


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
