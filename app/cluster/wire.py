"""Values between the gateway and an agent, as JSON: the work that an agent runs, launch plans, and errors.

Both ends have the same version of llama-tandem, so types need no versions of their own. An agent runs only the
functions of `WORK`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from app import errors
from app.config.conversations import ConversationLimits
from app.engine.launch import LaunchPlan
from app.errors import NodeFailedError, TandemError
from app.supervisor.activity import Activity, activity_of
from app.supervisor.conversation_files import (
    ConversationFiles,
    PlanFolder,
    RestoreVerdict,
    SavedSlot,
    is_whole,
    remove_file,
    rename_file,
    size_of_file,
    tidy,
    verdict_of,
)
from app.supervisor.engine_facts import LoadedFiles
from app.supervisor.ownership import is_own
from app.supervisor.readiness import fingerprint
from app.supervisor.slot_format import SlotHead


class Work(NamedTuple):
    """A function that agents run: the types of its arguments, and that of its result."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: Any


def _loaded_elsewhere(paths: Sequence[Path]) -> LoadedFiles:
    """Without the header's arrays, which are read from the file when they are needed."""
    loaded = LoadedFiles.of(paths)
    return replace(loaded, header=None if loaded.header is None else replace(loaded.header, arrays={}), here=False)


_WORK: dict[Callable[..., Any], Work] = {
    fingerprint: Work(fingerprint, (LaunchPlan,), str),
    LoadedFiles.of: Work(_loaded_elsewhere, (list[Path],), LoadedFiles),
    activity_of: Work(activity_of, (int,), Activity),
    is_own: Work(is_own, (int, int, list[str], dict[str, Any]), bool),
}
# On saved slots: of a gateway, of a plan, of one
_FILES, _LIMITS = ConversationFiles, ConversationLimits
_WORK |= {
    _FILES.folder: Work(_FILES.folder, (_FILES, str, str, float), PlanFolder),
    _FILES.forget: Work(_FILES.forget, (_FILES, str), None),
    _FILES.forget_all_but: Work(_FILES.forget_all_but, (_FILES, list[str]), None),
    _FILES.remove_parts: Work(_FILES.remove_parts, (_FILES,), None),
    _FILES.expire: Work(_FILES.expire, (_FILES, _LIMITS, float), None),
    _FILES.size: Work(_FILES.size, (_FILES,), int),
    _FILES.room: Work(_FILES.room, (_FILES, _LIMITS), float),
    tidy: Work(tidy, (_FILES, PlanFolder, _LIMITS, float), int),
    verdict_of: Work(verdict_of, (PlanFolder,), RestoreVerdict | None),
    PlanFolder.make: Work(PlanFolder.make, (PlanFolder,), None),
    PlanFolder.slots: Work(PlanFolder.slots, (PlanFolder,), list[SavedSlot]),
    PlanFolder.remove_parts: Work(PlanFolder.remove_parts, (PlanFolder,), None),
    PlanFolder.keep_only: Work(PlanFolder.keep_only, (PlanFolder, int), None),
    PlanFolder.judge: Work(PlanFolder.judge, (PlanFolder, RestoreVerdict), None),
    SavedSlot.read_tokens: Work(SavedSlot.read_tokens, (SavedSlot,), list[int]),
    SavedSlot.read_head: Work(SavedSlot.read_head, (SavedSlot,), SlotHead),
    is_whole: Work(is_whole, (SavedSlot,), bool),
    size_of_file: Work(size_of_file, (Path,), int),
    rename_file: Work(rename_file, (Path, str), None),
    remove_file: Work(remove_file, (Path,), None),
}


def name_of(function: Any) -> str:
    """`module:name` of a function that agents know."""
    return f"{function.__module__}:{function.__qualname__}"


WORK = {name_of(function): work for function, work in _WORK.items()}


def encoded(value: Any) -> Any:
    """The value as JSON's own types. Raises TypeError for one that has none."""
    return msgspec.to_builtins(value, enc_hook=_as_builtin, str_keys=True)


def decoded(value: Any, kind: Any) -> Any:
    """The value of a type. Raises msgspec.ValidationError."""
    return msgspec.convert(value, kind, dec_hook=_of_builtin)


def _as_builtin(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fspath(value)
    if isinstance(value, ConversationLimits):
        # As its setting is written
        return {"disk": value.disk, "keep": value.keep} if value.on else False
    raise TypeError(f"{type(value).__name__} cannot be sent to another machine")


def _of_builtin(kind: Any, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    if kind is ConversationLimits:
        return ConversationLimits.model_validate(value)
    raise TypeError(f"{kind} cannot be read")


# -- errors --------------------------------------------------------------------------------------------------------


def encoded_error(error: Exception) -> dict[str, Any]:
    """An error of ours with its fields, an OSError with its number, and any other with its name."""
    if isinstance(error, TandemError):
        return {"kind": type(error).__name__, "message": str(error), "fields": _fields(error)}
    if isinstance(error, OSError):
        return {"kind": "OSError", "message": error.strerror or str(error), "errno": error.errno}
    return {"kind": "", "message": f"{type(error).__name__}: {error}"}


def decoded_error(node: str, document: dict[str, Any]) -> Exception:
    """The same error in the gateway; NodeFailedError for one without a class of ours."""
    kind, message = str(document.get("kind")), str(document.get("message"))
    if kind == "OSError":
        return OSError(document.get("errno") or 0, message)
    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, TandemError)):
        return NodeFailedError(node, message)
    error: TandemError = known.__new__(known)
    Exception.__init__(error, message)
    vars(error).update(document.get("fields") or {})
    return error


def _fields(error: TandemError) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in vars(error).items():
        try:
            fields[name] = encoded(value)
        except TypeError:
            fields[name] = str(value)
    return fields
