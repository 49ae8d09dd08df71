"""Help pages on a terminal of 80 columns: no summary is cut, and no Python type is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.cli import cli
from app.cli.completion import joined_at_colons


def _all(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        if hasattr(command, "commands"):
            yield from _all(command, *words, name)


COMMANDS = dict(_all(typer.main.get_command(cli)))


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def _page(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_summary_is_a_short_sentence(words: tuple[str, ...]) -> None:
    summary = (COMMANDS[words].help or "").split("\n\n")[0]
    assert 0 < len(summary) <= 45
    assert summary[0].isupper() and summary.endswith(".")
    assert summary in " ".join(_page(*words).split())


@pytest.mark.parametrize("words", [(), ("keys",)], ids=["all", "keys"])
def test_no_summary_is_cut(words: tuple[str, ...]) -> None:
    page = _page(*words)
    assert "..." not in page.partition("Commands:")[2]
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_metavars_are_words(words: tuple[str, ...]) -> None:
    page = _page(*words)
    assert re.findall(r"<[a-z]|\[\[|\.\.\.[\]}]|\b(?:INTEGER|FLOAT|PATH|RANGE)\b|list\[", page) == []
    for param in COMMANDS[words].params:
        takes_value = not getattr(param, "is_flag", False)
        if takes_value and param.name != "help":
            assert re.fullmatch(r"[A-Z][A-Z,.]*", param.metavar or ""), param.name
            assert param.metavar in page


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_both_spellings_of_help_work(flag: str) -> None:
    """Of `import` too, which reads lines with `-hf`."""
    for words in COMMANDS:
        done = CliRunner().invoke(cli, [*words, flag])
        assert done.exit_code == 0 and done.stdout.startswith("Usage:"), words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("serve --port x", "'--port': must be a whole number"),
        ("chat --temperature hot", "'--temperature': must be a number"),
        ("keys create --name a --rpm 0", "'--rpm': must be at least 1"),
        ("search x --limit 500", "'--limit': must be at most 100"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(line: str, words: str) -> None:
    done = CliRunner().invoke(cli, line.split())
    assert done.exit_code == 2 and f"Invalid value for {words}" in done.stderr


@pytest.mark.parametrize(
    ("words", "at", "joined", "now"),
    [
        (["lt", "run", "a"], 2, ["lt", "run", "a"], 2),
        (["lt", "run", "o/m", ":"], 3, ["lt", "run", "o/m:"], 2),
        (["lt", "run", "o/m", ":", "Q4"], 4, ["lt", "run", "o/m:Q4"], 2),
        (
            ["lt", "run", "hf", ":", "o/m", ":", "Q4", "--draft", "x", ":", "y"],
            10,
            ["lt", "run", "hf:o/m:Q4", "--draft", "x:y"],
            4,
        ),
        (["lt", "run", "o/m", ":", "Q4", ""], 5, ["lt", "run", "o/m:Q4", ""], 3),
    ],
)
def test_bash_splits_words_at_colons_and_they_are_joined(
    words: list[str], at: int, joined: list[str], now: int
) -> None:
    assert joined_at_colons(words, at) == (joined, now)
