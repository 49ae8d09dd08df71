"""The flags and values that one build of llama-server accepts, read from its `--help`.

Flags are added, removed and redefined between builds, so version numbers are not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.errors import ProbeError

# The layout of help pages in all tested builds (August 2025 to October 2026): flags from column 0, descriptions from
# column 40 or on the next line.
_COLUMN = 40
_HEAD = re.compile(r"(?:-{1,2}[A-Za-z0-9][\w-]*(?:,\s*|\s+|$))+")
FLAG = re.compile(r"-{1,2}[A-Za-z0-9][\w-]*")
_PAIR = re.compile(r"[A-Z]+ [A-Z]+")
_REMOVED = "the argument has been removed"


@dataclass(frozen=True, slots=True)
class Flag:
    """One entry of the help page: `values` is the text after the names, `text` the description."""

    names: tuple[str, ...]
    values: str
    text: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """`flags` contains every spelling that works; `takes_value` those that need a value."""

    flags: frozenset[str]
    takes_value: frozenset[str]
    # Values of --spec-type; empty if the build has no such flag and `--model-draft` alone drafts.
    speculation_modes: frozenset[str]
    # Whether --spec-type takes several modes, separated by commas.
    chains: bool
    # Flags that are on by default, such as `--jinja` since 2026.
    on_by_default: frozenset[str]
    # Values of --load-mode; empty if the build has --mlock and --no-mmap instead.
    load_modes: frozenset[str] = frozenset()
    # Flags that take two words, such as `--lora-scaled FNAME SCALE` in 2025.
    pairs: frozenset[str] = frozenset()
    # The help page's entry of each spelling.
    described: Mapping[str, Flag] = field(default_factory=dict, compare=False)

    @classmethod
    def from_help(cls, page: str) -> Dialect:
        """Raises ProbeError if the page is not llama-server's."""
        entries = [entry for entry in _entries(page) if _REMOVED not in entry.text]
        names = frozenset(name for entry in entries for name in entry.names)
        if not {"--model", "--port"} <= names:
            raise ProbeError("its --help is not that of a llama-server: it has neither --model nor --port")
        modes = next((entry.values for entry in entries if "--spec-type" in entry.names), "")
        loads = next((entry.text for entry in entries if "--load-mode" in entry.names), "")
        return cls(
            flags=names,
            takes_value=frozenset(name for entry in entries if entry.values for name in entry.names),
            speculation_modes=frozenset(re.findall(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", modes)),
            # A list of choices in brackets, `[none|ngram-mod]`, takes one of them (b9093).
            chains="," in modes,
            on_by_default=frozenset(
                name for entry in entries if "(default: enabled" in entry.text for name in entry.names
            ),
            load_modes=frozenset(re.findall(r"- ([a-z+]+):", loads)),
            pairs=frozenset(name for entry in entries if _PAIR.fullmatch(entry.values) for name in entry.names),
            described={name: entry for entry in entries for name in entry.names},
        )

    @property
    def translates_vocabularies(self) -> bool:
        """Whether the draft may have another vocabulary, with tokens translated as text.

        Builds of 2025 to early 2026 do this (llama.cpp PR 12635). The flag's old name outlived the feature as an alias.
        A build that names `draft-simple` does not translate.
        """
        return "--spec-replace" in self.flags and "draft-simple" not in self.speculation_modes

    def first(self, *names: str) -> str | None:
        """The first of these spellings that the build knows."""
        return next((name for name in names if name in self.flags), None)


def _entries(page: str) -> Iterable[Flag]:
    entries: list[tuple[tuple[str, ...], str, list[str]]] = []
    for line in page.splitlines():
        if line.startswith("-----"):
            continue
        head = _HEAD.match(line)
        if head is not None:
            beside = len(line) > _COLUMN and line[_COLUMN - 1] == " " and head.end() <= _COLUMN
            values = line[head.end() : _COLUMN] if beside else line[head.end() :]
            text = [line[_COLUMN:]] if beside else []
            entries.append((tuple(FLAG.findall(head.group())), values.strip(), text))
        elif entries and line[:1].isspace():
            entries[-1][2].append(line.strip())
    return [Flag(names, values, " ".join(text)) for names, values, text in entries]
