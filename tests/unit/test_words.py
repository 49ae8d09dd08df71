"""Prose is read once: phrases that hide the subject stay out of docs, help and docstrings, and sentences are short."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import cli
from tests.support.paths import ROOT

# A phrase, and what to write in its place.
PHRASES = {
    r"nobody|somebody|whoever|everybody": "the noun: client, user, process, engine, request",
    r"(?:becomes?|became) of": "say what happens",
    r"comes? of": "the verb: results, follows",
    r"(?:is|are|was|were|be) told": "report, log, return",
    r"without a word": "silently",
    r"in words": "a message, a text",
    r"in the words of": "in the format of",
    r"(?:left|leave|leaves) alone": "unchanged",
    r"(?:a|no) lies?": "say what is sent instead",
    r"anew": "again",
    r"half-way|broken off": "partial, interrupted",
    r"proof is asked|asked for proof|is asked of|asked of wh\w+": "verify, check",
    r"by whatever name": "under every name",
    r"go(?:es|ing)? on (?:where|inside|from|with)": "resume, continue",
    r"where (?:there )?(?:is|are) none": "if there is none",
    r"what (?:is|was) not (?:there|here)": "missing",
    r"(?:is|are|was|were) said (?:in|by|of|to)": "active voice with a subject",
    r"nowhere else|is the way around": "only, bypass",
    r"as the disk tells|to the world|comes? free": "detected from, reports, becomes free",
    r"(?:be|is|are) honoured": "is not supported",
    r"(?:not|nothing) (?:known|kept|done|asked) here": "unknown; not stored; not supported",
}
_PHRASE = re.compile(r"\b(?:" + "|".join(PHRASES) + r")\b", re.IGNORECASE)
_QUESTION = re.compile(r"(?:What|How|Which|Who|Whose|Whether|Where|Why)\b")

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / name for name in ("benchmarks/README.md", "tests/clients/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
SOURCES = sorted(ROOT.glob("app/**/*.py"))
SCRIPTS = sorted(ROOT.glob("app/web/static/*.js"))
# Texts for models to work on
_FOR_MODELS = {"app/tuning/texts.py", "app/tuning/measure.py"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _messages(source: str) -> Iterator[str]:
    """Each text in the code that is not a docstring; of an f-string, its fixed parts."""
    tree = ast.parse(source)
    expressions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in expressions:
            yield node.value


def _docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _comments(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _help_texts(group: Any) -> Iterator[str]:
    for command in group.commands.values():
        yield command.help or ""
        yield from (getattr(param, "help", None) or "" for param in command.params)
        if hasattr(command, "commands"):
            yield from _help_texts(command)


def _prose(page: Path) -> str:
    """Without code blocks, tables, headings and comments."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```|^[|#].*?$|<!--.*?-->", "", text, flags=re.MULTILINE | re.DOTALL)


def _sentence_lengths(page: Path) -> list[int]:
    """Words of each sentence in paragraphs and lists."""
    return [len(part.split()) for part in re.split(r"(?<=[.:;!?])\s|\n\s*[-\d*]|\n\n", _prose(page)) if part.strip()]


def _found(text: str) -> list[str]:
    return [match[0] for match in _PHRASE.finditer(text)]


def test_phrases_are_found() -> None:
    """Else the tests below look for nothing."""
    bad = "Whoever asks is told in words what becomes of it, and nobody goes on where it stood."
    assert _found(bad) == ["Whoever", "is told", "in words", "becomes of", "nobody", "goes on where"]
    assert _found("The gateway reports missing files. See the chapter 'In wordings'.") == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".env.example"], ids=_name)
def test_pages_name_their_subject(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert _found(text) == []


def test_help_names_its_subject() -> None:
    texts = list(_help_texts(typer.main.get_command(cli)))
    assert len(texts) > 50
    assert [text for text in texts if _found(text)] == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_docstrings_and_comments_name_their_subject(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert [text for text in (*_docstrings(source), *_comments(source)) if _found(text)] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if _name(path) not in _FOR_MODELS], ids=_name)
def test_messages_name_their_subject(path: Path) -> None:
    assert [text for text in _messages(path.read_text(encoding="utf-8")) if _found(text)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_the_page_names_its_subject(path: Path) -> None:
    """In its comments and in what a person sees."""
    assert _found(path.read_text(encoding="utf-8")) == []


def test_modules_begin_with_a_statement() -> None:
    """Not with a question word: the first word is the subject or the verb."""
    first = {_name(path): next(_docstrings(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(first) > 150
    assert {name: text.split("\n")[0] for name, text in first.items() if _QUESTION.match(text)} == {}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_sentences_are_short(page: Path) -> None:
    """The median is below 18 words, and one sentence in ten may have more than 25."""
    lengths = _sentence_lengths(page)
    assert statistics.median(lengths) < 18
    assert sum(length > 25 for length in lengths) <= len(lengths) / 10
