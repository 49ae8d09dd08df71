"""The embedded engine where its wheel is not what the extra pins."""

import sys
from types import SimpleNamespace

import pytest

from app.engine import embedded


class CommonParams:
    """Of a wheel whose C++ object lies elsewhere."""


@pytest.fixture(autouse=True)
def leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(embedded.os, "_exit", leave)


@pytest.mark.parametrize(
    "wheel",
    [
        SimpleNamespace(__version__="2027.1"),
        SimpleNamespace(__version__="2027.1", xllamacpp=SimpleNamespace(__file__="/no/such.so")),
        SimpleNamespace(
            __version__="2027.1", xllamacpp=SimpleNamespace(__file__=sys.executable), CommonParams=CommonParams
        ),
    ],
    ids=["module", "library", "symbol"],
)
@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["--model", "m.gguf"]])
def test_a_wheel_that_does_not_prove_its_parser_is_refused_by_name(
    wheel: SimpleNamespace, argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what brings one that fits; a guess at its fields could load something else than was asked for."""
    monkeypatch.setitem(sys.modules, "xllamacpp", wheel)
    with pytest.raises(SystemExit) as left:
        embedded.main(argv)
    assert left.value.code == 1
    out, error = capsys.readouterr()
    assert out == "" and error == embedded.UNFIT.format("2027.1") + "\n"


def test_a_wheel_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As the diagnosis reads it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(SystemExit) as left:
        embedded.main(["--help"])
    assert left.value.code == 1 and capsys.readouterr().err == embedded.MISSING + "\n"
