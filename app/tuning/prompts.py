"""The prompts of a run: built-in texts of four kinds, or the user's own file.

The gain of drafting depends on the text: an answer that repeats its prompt is easy to predict, a conversation is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ConfigError

OWN = "own"


@dataclass(frozen=True, slots=True)
class Prompt:
    """`path` is llama-server's endpoint. `body` is the request without sampling and length."""

    path: str
    body: Mapping[str, Any]


Prompts = Mapping[str, tuple[Prompt, ...]]


def chat(text: str) -> Prompt:
    """Returns a prompt with a user's message, through the model's chat template."""
    return Prompt("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]})


def read_prompts(path: Path) -> Prompts:
    """Reads the user's prompts as one kind. Raises ConfigError with the line.

    The file has JSON lines, with `{"prompt": "..."}` for a completion or `{"messages": [...]}`. Or it is plain text,
    with blank lines between user messages. A file that begins with `{` is JSON lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError([f"--prompts: {path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"--prompts: {path}: line {line}: is not UTF-8 text"]) from None
    prompts = _json_lines(path, text) if text.lstrip().startswith("{") else _paragraphs(text)
    if not prompts:
        raise ConfigError([f"--prompts: {path}: holds no prompt"])
    return {OWN: prompts}


def _json_lines(path: Path, text: str) -> tuple[Prompt, ...]:
    prompts, problems = [], []
    # splitlines() would also split at characters that JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                prompts.append(_prompt(line))
            except ValueError as error:
                problems.append(f"--prompts: {path}: line {number}: {error}")
    if problems:
        raise ConfigError(problems)
    return tuple(prompts)


def _prompt(line: str) -> Prompt:
    """Parses a line. Raises ValueError with a message."""
    try:
        item = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    keys = sorted(item) if isinstance(item, dict) else []
    if keys == ["prompt"] and isinstance(item["prompt"], str) and item["prompt"].strip():
        return Prompt("/v1/completions", {"prompt": item["prompt"]})
    if keys == ["messages"] and _are_messages(item["messages"]):
        return Prompt("/v1/chat/completions", {"messages": item["messages"]})
    raise ValueError('must be {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}')


def _are_messages(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and isinstance(item.get("role"), str) and "content" in item for item in value)
    )


def _paragraphs(text: str) -> tuple[Prompt, ...]:
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            blocks[-1].append(line)
        else:
            blocks.append([])
    return tuple(chat("\n".join(block)) for block in blocks if block)
