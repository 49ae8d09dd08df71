"""What the arms are asked: texts of our own in four kinds, or the user's from a file.

How much drafting gains depends on the text: what repeats its prompt is easy to guess, a conversation is not.
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
    """`path` is llama-server's endpoint, `body` the request without sampling and length."""

    path: str
    body: Mapping[str, Any]


Prompts = Mapping[str, tuple[Prompt, ...]]


def chat(text: str) -> Prompt:
    """A user's message, through the model's chat template."""
    return Prompt("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]})


def read_prompts(path: Path) -> Prompts:
    """The user's own, as one kind. Raises ConfigError that names the line.

    JSON lines with `{"prompt": "..."}`, which is completed as it is, or `{"messages": [...]}`; or plain text, where
    blank lines stand between one user's message and the next. A file that begins with `{` is JSON lines.
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
    # Not splitlines(), which would also split at characters that JSON allows inside a text.
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
    """Raises ValueError in words."""
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
