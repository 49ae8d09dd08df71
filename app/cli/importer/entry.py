"""A command line of llama.cpp, of whatever year, as an entry of the catalog."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.cli.importer.extra_args import arguments
from app.cli.importer.flags import DROPPED, FILES, OPTIONS, SERVERS_TOO
from app.cli.importer.parse import Argument, Line, read
from app.cli.importer.speculation import speculation
from app.cli.importer.values import number, switch
from app.cli.importer.yaml import as_yaml
from app.config.model_entry import RESERVED_FLAGS, LocalEntry
from app.config.types import check_name
from app.engine.dialect import Dialect
from app.engine.translate import Note
from app.errors import NotImportableError


@dataclass(frozen=True, slots=True)
class Imported:
    """`keys` as they stand in a tandem.yaml, `notes` on each flag that became something else than its own key."""

    name: str
    keys: dict[str, Any]
    notes: tuple[Note, ...]

    @property
    def yaml(self) -> str:
        """A whole tandem.yaml."""
        return as_yaml({self.name: self.keys})


def import_line(words: Sequence[str], dialect: Dialect | None = None) -> Imported:
    """Raises NotImportableError, which names the flag; `dialect` is of the build that is to run the entry, if any."""
    line = read(words, dialect)
    return _Import(line, dialect).done()


class _Import:
    def __init__(self, line: Line, dialect: Dialect | None) -> None:
        self.dialect = dialect
        self.notes = line.notes
        self.env = line.env
        self.router = any(argument.flag == "--models-dir" for argument in line.arguments)
        # By what they decide: of two the last wins, as in llama.cpp.
        self.by_slot: dict[str, Argument] = {}
        # Where the value of a key came from, for errors.
        self.origins: dict[str, str] = {}
        self.aliases: list[str] = []
        self.passed: list[Argument] = []
        self.speculation: list[Argument] = []
        for argument in line.arguments:
            self._sort(argument, line.serves)

    def _sort(self, argument: Argument, serves: bool) -> None:
        flag = argument.flag
        if flag in DROPPED and not (serves and flag in SERVERS_TOO):
            self.notes.append(Note(argument.shown, f"dropped: {DROPPED[flag]}"))
        elif flag in ("-a", "--alias"):
            self.aliases += [name for part in argument.value.split(",") if (name := part.strip())]
            self.origins["name"] = self.origins["aliases"] = argument.shown
        elif flag in ("--spec-type", "--spec-default"):
            self.speculation.append(argument)
        elif flag in OPTIONS:
            self._last("/".join(OPTIONS[flag]), argument)
        elif flag in FILES:
            if not argument.value.strip():
                raise NotImportableError(f"{argument.shown}: names nothing")
            self._last(FILES[flag], argument)
        elif flag in RESERVED_FLAGS:
            self._last(RESERVED_FLAGS[flag], argument)
        else:
            self.passed.append(argument)

    def _last(self, slot: str, argument: Argument) -> None:
        if (before := self.by_slot.pop(slot, None)) is not None and before != argument:
            self.notes.append(Note(argument.shown, f"wins over {before.shown} before it"))
        self.by_slot[slot] = argument
        self.origins[slot] = argument.shown

    def done(self) -> Imported:
        keys: dict[str, Any] = {"target": self._files("target")}
        if not keys["target"]:
            router = " (--models-dir names none: give each file a line of its own)" if self.router else ""
            raise NotImportableError(f"there is no model: the command line needs --model or -hf{router}")
        if draft := self._draft():
            keys["draft"] = draft
        if mmproj := self._files("mmproj"):
            keys["mmproj"] = mmproj
        if (spoken := self._speculation()) is not None:
            keys["speculation"] = spoken
        for key, read_value in _KEYS.items():
            if key in self.by_slot and (value := read_value(self.by_slot[key], self.notes)) is not None:
                keys[key] = value
        if args := arguments(self.passed, self.dialect, self.notes):
            keys["args"] = args
        if self.env:
            keys["env"] = self.env
        name, *others = self._names()
        if others:
            keys["aliases"] = others
        self._validate(name, keys)
        return Imported(name, keys, tuple(self.notes))

    def _files(self, part: str) -> dict[str, Any]:
        """The mapping under `target`, `draft` or `mmproj`, empty if no flag names a file; raises NotImportableError."""
        path, repo, file, url = (self.by_slot.get(f"{part}.{kind}") for kind in ("path", "repo", "file", "url"))
        if path is not None:
            for other in filter(None, (repo, file, url)):
                self.notes.append(Note(other.shown, f"dropped: {path.shown} is where llama.cpp would have put it"))
            where, relative = _here(path.value), not re.match(r"[/~]|[A-Za-z]:", path.value)
            if where != path.value:
                self.notes.append(Note(path.shown, f"{part}: {where}, as WSL has that path of Windows"))
            elif relative:
                text = f"{part}, as it is; a relative path starts from the folder of tandem.yaml"
                self.notes.append(Note(path.shown, text))
            return {"path": where}
        if repo is not None:
            return self._repo(part, repo, file)
        if url is not None:
            return self._url(part, url)
        if file is not None:
            raise NotImportableError(f"{file.shown}: needs -hf beside it, to say of which repository")
        return {}

    def _repo(self, part: str, argument: Argument, file: Argument | None) -> dict[str, Any]:
        repo, _, quant = argument.value.partition(":")
        why = f"files below <models_dir>/{repo}, which `llama-tandem pull` gets"
        if file is not None:
            include = glob.escape(file.value)
        elif quant:
            include = f"*{glob.escape(quant)}*"
        else:
            include = "*Q4_K_M*"
            why += "; without a quant llama-server prefers Q4_K_M"
        self.origins[f"{part}.repo"] = self.origins[f"{part}.include"] = argument.shown
        source = {"repo": repo, "include": include}
        self.notes.append(Note(argument.shown, f"{part}: {why}"))
        return source

    def _url(self, part: str, argument: Argument) -> dict[str, Any]:
        match = re.fullmatch(
            r"https?://[^/]+/([\w.-]+/[\w.-]+)/(?:resolve|blob)/[^/]+/([^?#]+)(?:[?#].*)?", argument.value
        )
        if match is None:
            raise NotImportableError(f"{argument.shown}: no file of the Hub; fetch it and name the file with --model")
        self.notes.append(
            Note(argument.shown, f"{part}: the file below <models_dir>/{match[1]}, which `llama-tandem pull` gets")
        )
        self.origins[f"{part}.repo"] = self.origins[f"{part}.include"] = argument.shown
        return {"repo": match[1], "include": glob.escape(match[2])}

    def _draft(self) -> dict[str, Any]:
        draft = self._files("draft")
        device, ctx_size = self.by_slot.get("draft.device"), self.by_slot.get("draft.ctx_size")
        if not draft:
            for argument in filter(None, (device, ctx_size)):
                self.notes.append(Note(argument.shown, "dropped: there is no draft model"))
            return draft
        if device is not None:
            draft["device"] = device.value
        if ctx_size is not None:
            draft["ctx_size"] = number(ctx_size, whole=True)
            text = "draft.ctx_size; left out on builds of 2026, where a draft's context is the target's"
            self.notes.append(Note(ctx_size.shown, text))
        return draft

    def _speculation(self) -> Any:
        options = [argument for argument in self.by_slot.values() if argument.flag in OPTIONS]
        draft = self.by_slot.get("draft.path") or self.by_slot.get("draft.repo")
        return speculation([*self.speculation, *options], draft=draft, notes=self.notes)

    def _names(self) -> list[str]:
        """The entry's name and its aliases; raises NotImportableError."""
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
        self.notes.append(Note(name, "the model's name, after its file: there was no --alias"))
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
        words = str(error.get("ctx", {}).get("error") or error["msg"].replace("Input should be", "must be"))
        if loc and loc[0] == "env":
            origin = f"{loc[1]}={self.env.get(loc[1], '')}"
        return f"{origin or '.'.join(loc) or 'the entry'}: {words}"


def _here(path: str) -> str:
    drive = re.match(r"([A-Za-z]):[\\/]+", path)
    return f"/mnt/{drive[1].lower()}/{path[drive.end() :].replace(chr(92), '/')}" if drive else path


def _text(argument: Argument, notes: list[Note]) -> str:
    return argument.value


def _whole(argument: Argument, notes: list[Note]) -> int | float:
    return number(argument, whole=True)


def _real(argument: Argument, notes: list[Note]) -> float:
    return number(argument, whole=False)


def _on(argument: Argument, notes: list[Note]) -> bool:
    return switch(argument)


def _threads(argument: Argument, notes: list[Note]) -> int | float:
    value = number(argument, whole=True)
    if value <= 0 and value != -1:
        notes.append(Note(argument.shown, "threads: -1, all processors: llama.cpp takes 0 and less for that"))
    return max(value, -1) or -1


def _parallel(argument: Argument, notes: list[Note]) -> int | float | None:
    value = number(argument, whole=True)
    if value == -1:
        notes.append(Note(argument.shown, "dropped: slots are counted here, and without `parallel` there is one"))
        return None
    return value


# What is left after files and speculation, in the order of an entry.
_KEYS: dict[str, Callable[[Argument, list[Note]], Any]] = {
    "device": _text,
    "ctx_size": _whole,
    "parallel": _parallel,
    "threads": _threads,
    "fit": _on,
    "prio": _whole,
    "jinja": lambda argument, notes: argument.flag == "--jinja",
    "temp": _real,
    "top_p": _real,
}
