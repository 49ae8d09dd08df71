"""The files and folders that flags in an entry's `args` name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.engine.arguments import EntryFlag
from app.engine.dialect import Dialect
from app.models.gguf.header import Header
from app.models.gguf.header_cache import header_of
from app.models.gguf.places import misplaced_adapter, readable

_ADAPTERS = frozenset(["--lora", "--lora-scaled"])
_VECTORS = frozenset(["--control-vector", "--control-vector-scaled"])
_READ = (
    _ADAPTERS
    | _VECTORS
    | frozenset(
        [
            *("--chat-template-file", "--grammar-file", "-jf", "--json-schema-file", "-lcs", "--lookup-cache-static"),
            *("--mcp-servers-config", "--ui-config-file", "--webui-config-file"),
        ]
    )
)
_FOLDERS = frozenset(["--slot-save-path", "--media-path", "--path", "--video-ffmpeg-dir"])
_BINARY = frozenset(["-lcs", "--lookup-cache-static"])
_JSON = frozenset(["-jf", "--json-schema-file"])
_LONGEST_TEXT = 1 << 22
_SCALE = re.compile(r":[^:/]*$")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file, or with `folder` a folder, that llama-server reads because of `flag`."""

    flag: str
    path: Path
    folder: bool = False


def named_files(given: Sequence[EntryFlag], dialect: Dialect) -> Iterator[NamedFile]:
    """Yields all files and folders that must exist. Files that llama-server writes (logs, caches) are left out."""
    for flag in given:
        if flag.name in _FOLDERS:
            yield NamedFile(flag.written, Path(flag.values[0]), folder=True)
        elif flag.name in _READ:
            description = dialect.described.get(flag.name)
            several = description is not None and "comma-separated" in description.text
            words = flag.values[0].split(",") if several else [flag.values[0]]
            scaled = flag.name.endswith("-scaled") and len(flag.values) == 1
            yield from (NamedFile(flag.written, Path(_SCALE.sub("", w) if scaled else w)) for w in words if w)


def problem(file: NamedFile, target: Header) -> str:
    """The reason why llama-server cannot use it, in a sentence; empty if it can."""
    if file.folder:
        return "" if file.path.is_dir() else f"args: {file.flag} names the folder {file.path}, which does not exist."
    if not file.path.exists():
        return f"args: {file.flag} names {file.path}, which does not exist; put it there, or correct the path."
    if not file.path.is_file():
        return f"args: {file.flag} names {file.path}, which is not a file."
    flag = "--" + file.flag[2:].replace("_", "-")
    if flag in _ADAPTERS | _VECTORS:
        unread = readable(file.path)
        wrong = unread or (misplaced_adapter(header_of(file.path), target) if flag in _ADAPTERS else "")
        return f"args: {file.flag}: {wrong}" if wrong else ""
    return "" if flag in _BINARY else _no_text(file)


def _no_text(file: NamedFile) -> str:
    """Like `problem`, for templates, grammars and schemas."""
    named = f"args: {file.flag} names {file.path}, which"
    try:
        with file.path.open("rb") as opened:
            text = opened.read(_LONGEST_TEXT).decode("utf-8")
        if "\0" in text:
            return f"{named} is no text."
        if file.flag in _JSON:
            json.loads(text)
    except OSError as error:
        return f"{named} cannot be read: {error.strerror}."
    except UnicodeDecodeError:
        return f"{named} is no text in UTF-8."
    except (ValueError, RecursionError) as error:
        return f"{named} is no JSON: {error}."
    return ""
