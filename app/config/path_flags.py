"""Flags of llama-server whose value is a path. In `args` such paths are relative to the settings file. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

# Commas separate several, and a scale may stand behind each: FNAME:SCALE,FNAME:SCALE.
_LISTS = frozenset({"--lora", "--lora-scaled", "--control-vector", "--control-vector-scaled"})
# As the help pages from August 2025 to October 2026 have them, but for those that an entry has a key for.
PATH_FLAGS = _LISTS | {
    *("--chat-template-file", "--grammar-file", "-jf", "--json-schema-file", "-mv", "--model-vocoder"),
    *("-lcs", "--lookup-cache-static", "-lcd", "--lookup-cache-dynamic", "--slot-save-path"),
    *("--path", "--media-path", "--models-dir", "--models-preset", "--ui-config-file", "--webui-config-file"),
    *("--mcp-servers-config", "--video-ffmpeg-dir", "--log-file", "--log-prompts-dir"),
}


def path_values(args: Sequence[str]) -> Iterator[str]:
    """Yields every path that a flag names."""
    found: list[str] = []

    def keep(path: str) -> str:
        found.append(path)
        return path

    anchored(args, keep)
    yield from found


def anchored(args: Sequence[str], anchor: Callable[[str], str]) -> tuple[str, ...]:
    """Returns the arguments with each path replaced by `anchor(path)`. Reads `--flag=value` too."""
    words: list[str] = []
    flag = ""
    for word in args:
        name, equals, value = word.partition("=")
        if flag and not word.startswith("-"):
            words.append(_each(flag, word, anchor))
            flag = ""
            continue
        if equals and (given := _flag(name)):
            words.append(f"{name}={_each(given, value, anchor)}")
        else:
            words.append(word)
        flag = "" if equals else _flag(word)
    return tuple(words)


def _flag(word: str) -> str:
    """Returns the flag, if a path follows it. llama.cpp reads `--lora_scaled` as `--lora-scaled`."""
    name = word.replace("_", "-") if word.startswith("--") else word
    return name if name in PATH_FLAGS else ""


def _each(flag: str, value: str, anchor: Callable[[str], str]) -> str:
    parts = value.split(",") if flag in _LISTS else [value]
    return ",".join(anchor(part) if part else part for part in parts)
