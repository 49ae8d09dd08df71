"""Converts a llama.cpp command line, of any year, to an entry."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.cli.importer.extra_args import arguments
from app.cli.importer.flags import known
from app.cli.importer.hub_files import RepoFiles, files_meant, unknown_files
from app.cli.importer.parse import Argument, ParsedCommand, read
from app.cli.importer.speculation import speculation
from app.cli.importer.yaml import as_yaml
from app.config.messages import reason
from app.config.model_entry import LocalEntry
from app.config.types import check_name
from app.engine.dialect import Dialect
from app.engine.translate import Note
from app.errors import NotImportableError

# Keys besides files and speculation, in the order of an entry.
_KEYS = ("device", "ctx_size", "parallel", "threads", "fit", "prio", "jinja", "temp", "top_p")


@dataclass(frozen=True, slots=True)
class ImportedEntry:
    """The result: `keys` of a tandem.yaml, and `notes` on each flag that was converted or left out."""

    name: str
    keys: dict[str, Any]
    notes: tuple[Note, ...]

    @property
    def yaml(self) -> str:
        """Returns a complete tandem.yaml."""
        return as_yaml({self.name: self.keys})


def import_line(
    words: Sequence[str], dialect: Dialect | None = None, repo_files: RepoFiles = unknown_files
) -> ImportedEntry:
    """Converts a command line. `dialect` is that of the build that will run the entry, if known.

    Raises NotImportableError, which names the flag.
    """
    return entry_of(read(words, dialect), dialect, repo_files)


def entry_of(line: ParsedCommand, dialect: Dialect | None, repo_files: RepoFiles = unknown_files) -> ImportedEntry:
    """As `import_line`, for a parsed line."""
    return _Import(line, dialect, repo_files).done()


class _Import:
    def __init__(self, line: ParsedCommand, dialect: Dialect | None, repo_files: RepoFiles) -> None:
        self.dialect = dialect
        self.repo_files = repo_files
        self.notes = line.notes
        self.env = line.env
        # By slot: of two the last wins, as in llama.cpp.
        self.by_slot: dict[str, Argument] = {}
        # The source of each key's value, for errors.
        self.origins: dict[str, str] = {}
        self.aliases: list[str] = []
        self.passed: list[Argument] = []
        self.speculation: list[Argument] = []
        for argument in (*line.variables, *line.arguments):
            self._sort(argument, line.serves)

    def _sort(self, argument: Argument, serves: bool) -> None:
        flag = known(argument.flag)
        if flag.stays_in_args or (flag.on_servers_too and serves):
            self.passed.append(argument)
        elif flag.dropped:
            self.notes.append(Note(argument.shown, f"dropped: {flag.dropped}"))
        elif flag.slot == "name":
            self.aliases += [name for part in argument.value.split(",") if (name := part.strip())]
            self.origins["name"] = self.origins["aliases"] = argument.shown
        elif flag.slot == "speculation":
            self.speculation.append(argument)
        elif flag.slot.endswith((".path", ".repo", ".file", ".url")) and not argument.value.strip():
            raise NotImportableError(f"{argument.shown}: needs a value")
        else:
            self._last(flag.slot, argument)

    def _last(self, slot: str, argument: Argument) -> None:
        if (before := self.by_slot.pop(slot, None)) is not None and before != argument:
            self.notes.append(Note(argument.shown, f"overrides the earlier {before.shown}"))
        self.by_slot[slot] = argument
        self.origins[slot] = argument.shown

    def done(self) -> ImportedEntry:
        keys: dict[str, Any] = {"target": self._files("target")}
        if not keys["target"]:
            raise NotImportableError("there is no model: the command line needs --model or -hf")
        if draft := self._draft():
            keys["draft"] = draft
        if mmproj := self._files("mmproj"):
            keys["mmproj"] = mmproj
        if (spoken := self._speculation()) is not None:
            keys["speculation"] = spoken
        for key in _KEYS:
            if key in self.by_slot and (value := self._value(key, self.by_slot[key])) is not None:
                keys[key] = value
        if args := arguments(self.passed, self.dialect, self.notes):
            keys["args"] = args
        if self.env:
            keys["env"] = self.env
        name, *others = self._names()
        if others:
            keys["aliases"] = others
        self._validate(name, keys)
        return ImportedEntry(name, keys, tuple(self.notes))

    def _value(self, key: str, argument: Argument) -> Any:
        """Returns the value, or None if it needs no key. Raises NotImportableError."""
        if key == "device":
            return argument.value
        if key == "jinja":
            return argument.flag == "--jinja"
        if key == "fit":
            return argument.is_on()
        value = argument.number(whole=key not in ("temp", "top_p"))
        if key == "threads" and value <= 0:
            if value != -1:
                self._note(argument, "threads: -1 (all processors), as llama.cpp reads 0 and less")
            return -1
        if key == "parallel" and value == -1:
            self._note(argument, "dropped: an entry without `parallel` has one slot")
            return None
        return value

    def _note(self, argument: Argument, text: str) -> None:
        self.notes.append(Note(argument.shown, text))

    def _files(self, part: str) -> dict[str, Any]:
        """Returns the mapping for `target`, `draft` or `mmproj`, empty without a flag. Raises NotImportableError."""
        path, repo, file, url = (self.by_slot.get(f"{part}.{kind}") for kind in ("path", "repo", "file", "url"))
        if path is not None:
            for other in filter(None, (repo, file, url)):
                self._note(other, f"dropped: {path.shown} is where llama.cpp would have put it")
            where = _here(path.value)
            if where != path.value:
                self._note(path, f"{part}: {where}, the path of this Windows file in WSL")
            elif not where.startswith(("/", "~")):
                self._note(path, f"{part}, unchanged; a relative path starts at the folder of tandem.yaml")
            return {"path": where}
        if repo is not None:
            return self._repo(part, repo, file)
        if url is not None:
            return self._url(part, url)
        if file is not None:
            raise NotImportableError(f"{file.shown}: needs -hf with its repository")
        return {}

    def _repo(self, part: str, argument: Argument, file: Argument | None) -> dict[str, Any]:
        repo, _, quant = argument.value.partition(":")
        if file:
            return self._of_repo(part, argument, "files", repo, {"include": glob.escape(file.value)})
        which, more = files_meant(self.repo_files(repo), quant)
        return self._of_repo(part, argument, "files", repo, which, more)

    def _url(self, part: str, argument: Argument) -> dict[str, Any]:
        match = re.fullmatch(
            r"https?://[^/]+/([\w.-]+/[\w.-]+)/(?:resolve|blob)/[^/]+/([^?#]+)(?:[?#].*)?", argument.value
        )
        if match is None:
            raise NotImportableError(f"{argument.shown}: not a file on the Hub; download it and name it with --model")
        return self._of_repo(part, argument, "the file", match[1], {"include": glob.escape(match[2])})

    def _of_repo(
        self, part: str, argument: Argument, what: str, repo: str, which: dict[str, str], more: str = ""
    ) -> dict[str, Any]:
        self.origins[f"{part}.repo"] = self.origins[f"{part}.include"] = argument.shown
        self._note(argument, f"{part}: {what} below <models_dir>/{repo}, which `llama-tandem pull` downloads{more}")
        return {"repo": repo, **which}

    def _draft(self) -> dict[str, Any]:
        draft = self._files("draft")
        device, ctx_size = self.by_slot.get("draft.device"), self.by_slot.get("draft.ctx_size")
        if not draft:
            for argument in filter(None, (device, ctx_size)):
                self._note(argument, "dropped: there is no draft model")
            return draft
        if device is not None:
            draft["device"] = device.value
        if ctx_size is not None:
            draft["ctx_size"] = ctx_size.number(whole=True)
            self._note(ctx_size, "draft.ctx_size; left out on builds of 2026, where a draft's context is the target's")
        return draft

    def _speculation(self) -> Any:
        options = [argument for slot, argument in self.by_slot.items() if "/" in slot]
        draft = self.by_slot.get("draft.path") or self.by_slot.get("draft.repo")
        return speculation([*self.speculation, *options], draft=draft, notes=self.notes)

    def _names(self) -> list[str]:
        """Returns the entry's name and its aliases. Raises NotImportableError."""
        names = list(dict.fromkeys(self.aliases))
        for name in names:
            try:
                check_name(name)
            except ValueError as error:
                raise NotImportableError(f"--alias {name}: {error}") from None
        if names:
            return names
        source = self.by_slot.get("target.path") or self.by_slot.get("target.file") or self.by_slot.get("target.url")
        where = source.value if source else self.by_slot["target.repo"].value.partition(":")[0]
        stem = re.split(r"[/\\]", where.rstrip("/\\"))[-1].partition("?")[0]
        stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$|-GGUF$", "", stem, flags=re.IGNORECASE)
        name = re.sub(r"[\s,]+", "-", "".join(c for c in stem if c.isprintable())).strip("-") or "model"
        self.notes.append(Note(name, "named after the model's file, since --alias is missing"))
        return [name]

    def _validate(self, name: str, keys: dict[str, Any]) -> None:
        try:
            check_name(name)
            LocalEntry.model_validate(keys)
        except ValidationError as errors:
            raise NotImportableError("\n".join(self._problem(error) for error in errors.errors())) from None

    def _problem(self, error: Any) -> str:
        loc = [str(part) for part in error["loc"]]
        origin = next((self.origins[key] for key in (".".join(loc[:2]), *loc[:1]) if key in self.origins), None)
        words = str(error.get("ctx", {}).get("error") or reason(error))
        if loc and loc[0] == "env":
            origin = f"{loc[1]}={self.env.get(loc[1], '')}"
        return f"{origin or '.'.join(loc) or 'the entry'}: {words}"


def _here(path: str) -> str:
    drive = re.match(r"([A-Za-z]):[\\/]+", path)
    return f"/mnt/{drive[1].lower()}/{path[drive.end() :].replace(chr(92), '/')}" if drive else path
