"""A router of llama-server as entries: a section of its preset file each (`--models-preset models.ini`), a model of its
folder each (`--models-dir`).

A preset file's format is that of llama.cpp's docs/preset.md (b11434): `[*]` holds for all sections, a key is a flag
without its dashes or the name of its variable, `;` and `#` begin a comment anywhere, and what the router's own command
line says wins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.cli.importer.entry import ImportedEntry, entry_of
from app.cli.importer.flags import ENV_SWITCHES, FLAGS, TWO, flag_of, known
from app.cli.importer.hub_files import RepoFiles, unknown_files
from app.cli.importer.parse import Argument, ParsedCommand, assigned, read, shown_as
from app.cli.importer.router_folder import RouterModel
from app.cli.importer.yaml import as_yaml
from app.engine.dialect import Dialect
from app.engine.translate import Note
from app.errors import NotImportableError

PRESET, FOLDER = "--models-preset", "--models-dir"
_FOR_ALL = "*"
_SECTION = re.compile(r"\[(.+)\]")
_KEY = re.compile(r"[\w.-]+")
_REPO = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
# The router's own keys, which are not flags, and their conversion.
_ROUTERS = {
    "load-on-startup": "dropped: a model is loaded on first request",
    "stop-timeout": "dropped: `stop_grace` in tandem.yaml is for all engines",
    "dedup-cache-models": "dropped: only what tandem.yaml names is served",
    "version": "",
}
_MOST, _ROUTERS_MOST = "--models-max", 4
_Notes = dict[Note, None]


@dataclass(slots=True)
class _Section:
    name: str
    pairs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImportedPreset:
    """`entries` in the order of the file, and `notes` on converted keys, with their section."""

    entries: tuple[ImportedEntry, ...]
    notes: tuple[Note, ...]
    max_loaded: int | None

    @property
    def yaml(self) -> str:
        """Returns a complete tandem.yaml."""
        head = "" if self.max_loaded is None else f"max_loaded: {self.max_loaded}\n"
        return head + as_yaml({entry.name: entry.keys for entry in self.entries})


def router_of(words: Sequence[str], dialect: Dialect | None = None) -> tuple[str | None, str | None]:
    """Returns the preset file and folder of a command line. Raises NotImportableError as `read` does."""
    line = read(words, dialect)
    return _last(line, PRESET), _last(line, FOLDER)


def import_preset(
    words: Sequence[str],
    text: str,
    name: str,
    dialect: Dialect | None = None,
    folder: Sequence[RouterModel] = (),
    repo_files: RepoFiles = unknown_files,
) -> ImportedPreset:
    """Converts the `text` of file `name`. Raises NotImportableError if no section can be an entry.

    Models of the `folder` get the values of their own section, or else those for all.
    """
    router = read(words, dialect)
    shared, sections = _sections(text, name)
    folder_models = {model.name: model for model in folder}
    sections += [_Section(title) for title in folder_models if all(title != section.name for section in sections)]
    entries: dict[str, ImportedEntry] = {}
    notes: _Notes = dict.fromkeys(router.notes)
    problems = []
    own = {argument.shown for argument in (*router.variables, *router.arguments)}
    for section in sections:
        try:
            line = _line(section, shared, router, dialect, notes, folder_models.get(section.name))
            entry = entry_of(line, dialect, repo_files)
            if entry.name in entries:
                raise NotImportableError(f"another section is called {entry.name} too")
        except NotImportableError as error:
            problems.append(Note(f"[{section.name}]", f"left out: {error}"))
            continue
        entries[entry.name] = entry
        # The router's own flags are reported once
        for note in entry.notes:
            notes[note if note.key in own else replace(note, key=f"[{section.name}] {note.key}")] = None
    if not entries:
        why = "\n".join(f"{note.key}: {note.text}" for note in problems) or "it has no section for a model"
        raise NotImportableError(f"{name}: {why}")
    most = _max_loaded(router, notes)
    return ImportedPreset(tuple(entries.values()), (*notes, *problems), most)


def _last(line: ParsedCommand, flag: str) -> str | None:
    """Returns the last value of a flag, which counts."""
    values = [argument.value for argument in (*line.variables, *line.arguments) if argument.flag == flag]
    return values[-1] if values else None


def _sections(text: str, name: str) -> tuple[_Section, list[_Section]]:
    """Returns the values for all, and the sections of models. Raises NotImportableError, which names the line."""
    shared = _Section(_FOR_ALL)
    sections: dict[str, _Section] = {}
    section = shared  # the file's version precedes the first section
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


def _line(
    section: _Section,
    shared: _Section,
    router: ParsedCommand,
    dialect: Dialect | None,
    notes: _Notes,
    folder_model: RouterModel | None = None,
) -> ParsedCommand:
    """Returns the command line of a section. Raises NotImportableError."""
    arguments: list[Argument] = []
    for origin in (shared, section):
        for key, value in origin.pairs:
            if (why := _ROUTERS.get(key)) is not None:
                notes |= {Note(f"[{origin.name}] {key}", why): None} if why else {}
            elif (argument := _argument(key, value, dialect)) is not None:
                arguments.append(argument)
            else:
                notes[
                    Note(
                        f"[{origin.name}] {key} = {value}", f"left out: it is the default without {_flag(key, dialect)}"
                    )
                ] = None
    arguments += [argument for argument in router.arguments if argument.flag not in (PRESET, FOLDER, _MOST)]
    if not any(known(argument.flag).slot.startswith("target.") for argument in arguments):
        if folder_model is not None:
            arguments += [Argument("--model", (str(folder_model.path),), f"--model {folder_model.path}")]
            if folder_model.mmproj is not None and not any(argument.flag == "--mmproj" for argument in arguments):
                arguments.append(Argument("--mmproj", (str(folder_model.mmproj),), f"--mmproj {folder_model.mmproj}"))
        elif not _REPO.fullmatch(section.name):
            raise NotImportableError("it names no model: add model = PATH or hf-repo = ORG/REPO")
        else:
            arguments.append(Argument("--hf-repo", (section.name,), f"--hf-repo {section.name}"))
    arguments.insert(0, Argument("--alias", (section.name,), f"--alias {section.name}"))
    return ParsedCommand(router.program, router.variables, arguments, dict(router.env))


def _argument(key: str, value: str, dialect: Dialect | None) -> Argument | None:
    """Returns the argument, or None if it has no effect. Raises NotImportableError."""
    flag = _flag(key, dialect)
    if known(flag).values == TWO:
        raise NotImportableError(f"{key} = {value}: {flag} takes two values, and a preset has one")
    argument = assigned(flag, value, f"{key} = {value}", dialect, guess=True)
    return argument and replace(argument, shown=shown_as(argument.flag, argument.values))


def _flag(key: str, dialect: Dialect | None) -> str:
    if (named := flag_of(key)) is not None:
        return named
    long, short = f"--{key.replace('_', '-')}", f"-{key}"
    listed = FLAGS.keys() | ENV_SWITCHES | (dialect.flags if dialect is not None else set())
    # Short spellings have five letters at most, long ones consist of words
    return long if long in listed or (short not in listed and len(key) > 3) else short


def _max_loaded(router: ParsedCommand, notes: _Notes) -> int | None:
    value = _last(router, _MOST)
    if value is None:
        text = f"as many as memory holds; the router kept up to {_ROUTERS_MOST} models loaded"
        notes[Note("max_loaded", text)] = None
        return None
    if not value.isdecimal():
        raise NotImportableError(f"{_MOST} {value}: must be a whole number")
    if int(value) == 0:
        notes[Note(f"{_MOST} {value}", "max_loaded is left out: as many as memory holds")] = None
        return None
    return int(value)
