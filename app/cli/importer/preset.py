"""A preset file of llama-server's router (`--models-preset models.ini`) as entries, one a section.

Its format is that of llama.cpp's docs/preset.md (b11434): `[*]` holds for all sections, a key is a flag without its
dashes or the name of its variable, `;` and `#` begin a comment anywhere, and what the router's own command line says
wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from app.cli.importer.entry import Imported, import_line
from app.cli.importer.flags import ENV_SWITCHES, FALSE, FILES, NEGATABLE, OPTIONAL, TRUE, flag_of, values_of
from app.cli.importer.parse import as_words, program_at, read
from app.cli.importer.yaml import as_yaml
from app.engine.dialect import Dialect
from app.engine.translate import Note
from app.errors import NotImportableError

PRESET = "--models-preset"
_FOR_ALL = "*"
_SECTION = re.compile(r"\[(.+)\]")
_KEY = re.compile(r"[\w.-]+")
_REPO = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
# The router's own keys, which are no flags, and what becomes of them.
_ROUTERS = {
    "load-on-startup": "dropped: a model is loaded when it is first asked for",
    "stop-timeout": "dropped: `stop_grace` in tandem.yaml is for all engines",
    "dedup-cache-models": "dropped: only what tandem.yaml names is served",
    "version": "",
}
_MOST, _ROUTERS_MOST = "--models-max", 4


@dataclass(slots=True)
class _Section:
    name: str
    pairs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImportedPreset:
    """`entries` in the order of the file, `notes` on what became something else, with their section."""

    entries: tuple[Imported, ...]
    notes: tuple[Note, ...]
    max_loaded: int | None

    @property
    def yaml(self) -> str:
        """A whole tandem.yaml."""
        head = "" if self.max_loaded is None else f"max_loaded: {self.max_loaded}\n"
        return head + as_yaml({entry.name: entry.keys for entry in self.entries})


def preset_of(words: Sequence[str], dialect: Dialect | None = None) -> str | None:
    """The preset file that a command line names; raises NotImportableError as `read` does."""
    said = [argument.value for argument in read(words, dialect).arguments if argument.flag == PRESET]
    return said[-1] if said else None


def import_preset(words: Sequence[str], text: str, name: str, dialect: Dialect | None = None) -> ImportedPreset:
    """`text` is what is in the file called `name`; raises NotImportableError where no section can be an entry."""
    shared, sections = _sections(text, name)
    entries: dict[str, Imported] = {}
    notes: dict[Note, None] = {}
    problems, split = [], _split(words)
    for section in sections:
        try:
            entry = _entry(section, shared, split, dialect, notes)
            if entry.name in entries:
                raise NotImportableError(f"another section is called {entry.name} too")
        except NotImportableError as error:
            problems.append(Note(f"[{section.name}]", f"left out: {error}"))
            continue
        entries[entry.name] = entry
        own = [note for note in entry.notes if note.key not in _keys_of(split[1], dialect)]
        notes |= {Note(f"[{section.name}] {note.key}", note.text): None for note in own}
        # The router's own flags are told of once
        notes |= dict.fromkeys(note for note in entry.notes if note not in own)
    if not entries:
        why = "\n".join(f"{note.key}: {note.text}" for note in problems) or "it has no section of a model"
        raise NotImportableError(f"{name}: {why}")
    most = _max_loaded(words, dialect, notes)
    return ImportedPreset(tuple(entries.values()), (*notes, *problems), most)


def _sections(text: str, name: str) -> tuple[_Section, list[_Section]]:
    """What holds for all, and the sections of models; raises NotImportableError, which names the line."""
    shared = _Section(_FOR_ALL)
    sections: dict[str, _Section] = {}
    section = shared  # what stands before the first section is the file's version
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if not (line := re.split("[;#]", raw, maxsplit=1)[0].strip()):
            continue
        if head := _SECTION.fullmatch(line):
            title = head[1].strip()
            section = shared if title == _FOR_ALL else sections.setdefault(title, _Section(title))
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not _KEY.fullmatch(key):
            raise NotImportableError(f"{name}:{number}: {line!r} is neither a [section] nor KEY = VALUE")
        section.pairs.append((key, value))
    return shared, list(sections.values())


def _entry(
    section: _Section,
    shared: _Section,
    words: tuple[list[str], list[str]],
    dialect: Dialect | None,
    notes: dict[Note, None],
) -> Imported:
    """`words` are the program and the router's own flags; raises NotImportableError."""
    flags: list[str] = []
    for origin in (shared, section):
        for key, value in origin.pairs:
            if (why := _ROUTERS.get(key)) is not None:
                notes.update({Note(f"[{origin.name}] {key}", why): None} if why else {})
            else:
                flags += _words_of(origin, key, value, dialect, notes)
    program, rest = words
    if not any(FILES.get(word, "").startswith("target.") for word in (*flags, *rest)):
        if not _REPO.fullmatch(section.name):
            raise NotImportableError("it names no model: give it model = PATH or hf-repo = ORG/REPO")
        flags += ["--hf-repo", section.name]
    names = [section.name, *_values(flags, ("-a", "--alias"))]
    return import_line([*program, *_without(flags, ("-a", "--alias")), *rest, "--alias", ",".join(names)], dialect)


def _words_of(
    section: _Section, key: str, value: str, dialect: Dialect | None, notes: dict[Note, None]
) -> tuple[str, ...]:
    """The words of a command line that a key stands for; raises NotImportableError."""
    flag = _flag(key, dialect)
    if flag in OPTIONAL or not _is_switch(flag, value, dialect):
        return flag, value
    if value.lower() not in TRUE | FALSE:
        raise NotImportableError(f"{key} = {value}: must be on or off")
    if value.lower() in TRUE:
        return (flag,)
    negated = f"--{flag[5:]}" if flag.startswith("--no-") else f"--no-{flag[2:]}"
    if flag.startswith("--no-") or flag in NEGATABLE or (dialect is not None and negated in dialect.flags):
        return (negated,)
    notes[Note(f"[{section.name}] {key} = {value}", f"left out: without {flag} it is so")] = None
    return ()


def _flag(key: str, dialect: Dialect | None) -> str:
    if (named := flag_of(key)) is not None:
        return named
    long, short = f"--{key.replace('_', '-')}", f"-{key}"
    known = dialect.flags if dialect is not None else frozenset()
    if long in known or values_of(long) is not None or long in ENV_SWITCHES:
        return long
    if short in known or values_of(short) is not None:
        return short
    # Short spellings are of at most five letters, long ones mostly of words
    return short if len(key) <= 3 else long


def _is_switch(flag: str, value: str, dialect: Dialect | None) -> bool:
    if flag in ENV_SWITCHES:
        return True
    if (count := values_of(flag)) is not None:
        return count == (0, 0)
    if dialect is not None and flag in dialect.flags:
        return flag not in dialect.takes_value
    return value.lower() in TRUE - {"1"} | FALSE - {"0"}


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The program with what stands before it, and its flags but for the router's own; raises NotImportableError."""
    whole, _ = as_words(words)
    first = program_at(whole) + 1
    while first < len(whole) and not whole[first].startswith("-"):  # such as `llama serve`
        first += 1
    return whole[:first], _without(whole[first:], (PRESET, _MOST))


def _keys_of(rest: list[str], dialect: Dialect | None) -> set[str]:
    """How notes on the router's own flags are called."""
    return {argument.shown for argument in read(["llama-server", *rest], dialect).arguments}


def _values(words: Sequence[str], flags: Iterable[str]) -> list[str]:
    return [value for flag, value in pairwise(words) if flag in flags]


def _without(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Without these flags and the one value behind each."""
    kept: list[str] = []
    at = 0
    while at < len(words):
        if words[at] in flags:
            at += 2
        else:
            kept.append(words[at])
            at += 1
    return kept


def _max_loaded(words: Sequence[str], dialect: Dialect | None, notes: dict[Note, None]) -> int | None:
    said = [argument for argument in read(words, dialect).arguments if argument.flag == _MOST]
    if not said:
        text = f"1 here; the router kept up to {_ROUTERS_MOST} models loaded"
        notes[Note("max_loaded", text)] = None
        return None
    value = said[-1].value
    if not value.isdecimal():
        raise NotImportableError(f"{said[-1].shown}: must be a whole number")
    if int(value) == 0:
        notes[Note(said[-1].shown, "max_loaded is 1: there is no number for as many as fit; say how many")] = None
        return None
    return int(value)
