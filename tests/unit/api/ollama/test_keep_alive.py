"""`keep_alive`, as Ollama's clients write it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.api.ollama.request import FOR_GOOD, translate
from app.errors import InvalidBodyError


def read(path: str = "/api/chat", **fields: Any) -> Any:
    return translate(path, msgspec.json.encode({"model": "m"} | fields))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("", None),
        (0, 0),
        ("0", 0),
        ("0s", 0),
        (300, 300),
        (0.5, 0.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("300ms", 0.3),
        (-1, FOR_GOOD),
        ("-1", FOR_GOOD),
        ("-1m", FOR_GOOD),
        (-0.0, 0),
        ("-0s", 0),
    ],
)
def test_numbers_are_seconds_and_texts_are_durations(written: Any, seconds: float | None) -> None:
    """What is negative is for good; in each kind of request."""
    for path, more in (("/api/chat", {}), ("/api/generate", {"prompt": "x"}), ("/api/embed", {"input": "x"})):
        assert read(path, keep_alive=written, **more).keep_alive == seconds


@pytest.mark.parametrize("written", ["soon", "5 parsecs", True, [5], {}, "nan", "-", "--5m"])
def test_what_is_no_duration_is_refused_in_words(written: Any) -> None:
    """With the forms that would be right."""
    with pytest.raises(InvalidBodyError, match="'keep_alive' must be seconds, or a number with ms, s, m, h or d") as e:
        read(keep_alive=written)
    assert e.value.param == "keep_alive"


def test_an_empty_request_with_0_is_a_wish_to_unload() -> None:
    """With a prompt it is a request like any other, and the model goes after the answer."""
    assert read(keep_alive=0).unloading and read("/api/generate", keep_alive="0").unloading
    assert not read(keep_alive=5).unloading and not read().unloading
    assert not read("/api/generate", prompt="x", keep_alive=0).unloading
