"""Which chat template is in use before any engine says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config.model_entry import LocalEntry
from app.models.chat_template import template_of
from app.models.gguf.header import Header

HEADER = Header(Path("x"), 3, 0, 0, {"tokenizer.chat_template": "the file's"})


def entry(**keys: Any) -> LocalEntry:
    return LocalEntry.model_validate({"target": {"path": "/x"}} | keys)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "the file's"),
        ({"args": ["--chat-template", "chatml"]}, "chatml"),
        ({"args": ["--chat_template", "a", "--chat-template", "b"]}, "b"),
        ({"args": ["--chat-template-kwargs", "{}"]}, "the file's"),
        ({"args": ["--chat-template-file", "/no/such.jinja"]}, ""),
        ({"env": {"LLAMA_ARG_CHAT_TEMPLATE": "by env"}}, "by env"),
        ({"env": {"LLAMA_ARG_CHAT_TEMPLATE": "by env"}, "args": ["--chat-template", "by flag"]}, "by flag"),
    ],
)
def test_the_entrys_own_template_wins(keys: dict[str, Any], expected: str) -> None:
    """Over the file's, the last word over those before, and a flag over its variable."""
    assert template_of(entry(**keys), HEADER) == expected


def test_a_template_in_a_file_is_read(tmp_path: Path) -> None:
    """Each time: a person edits it."""
    path = tmp_path / "t.jinja"
    for text in ("{{ one }}", "{{ two }}"):
        path.write_text(text)
        assert template_of(entry(args=["--chat-template-file", str(path)]), HEADER) == text


def test_without_a_header_there_is_no_template() -> None:
    assert template_of(entry(), None) == ""
