"""A line with its caret."""

import pytest

from app.config.excerpt import excerpt


@pytest.mark.parametrize("column", [1, 3, 60, 150, 300, 301])
def test_the_caret_stands_under_the_column(column: int) -> None:
    """However long the line is, and at its end."""
    text = "".join(chr(97 + at % 26) for at in range(300))
    line, below = excerpt(text, 12, column).splitlines()
    assert len(line) <= 120
    assert line[below.index("^") : below.index("^") + 1] == text[column - 1 : column]


def test_what_cannot_be_printed_is_a_space() -> None:
    assert excerpt("\ta\x1b[31m: 1", 1, 2) == "    1 |  a [31m: 1\n      |  ^"


def test_secrets_are_stars() -> None:
    """Where they are known, else behind what looks like their key."""
    assert excerpt("k: abc", 1, 1, [(3, 6)]).startswith("    1 | k: ***\n")
    assert excerpt("api_key: abc, b: [", 1, 1).startswith("    1 | api_key: *********\n")
    assert excerpt("api_key: env:NAME", 1, 1).startswith("    1 | api_key: env:NAME\n")
