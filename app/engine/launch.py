"""The launch plan: the exact command line and the whole environment of one engine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.config.conversations import own_slot_folder
from app.config.speculation import AUTO, NONE, PLAIN, Chain, named
from app.engine.dialect import Dialect
from app.engine.environment import child_environment
from app.engine.locate import EngineBinary
from app.engine.translate import Note, translate
from app.models.catalog import ModelSpec
from app.models.gguf.filenames import shards
from app.models.purpose import Purpose

# llama-server reads it whatever its environment (b11434). The command line overrides it.
SYSTEM_CONFIG = Path("/etc/llama.cpp/config.ini")

SLOT_FOLDER = "--slot-save-path"


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """`argv` and `env` are complete, except the key that each process gets at its spawn.

    `files` are all shards of all its models, `named` the files that flags among its `args` name, `engine` the files
    that decide how the engine behaves.

    `requested_mode` is the entry's speculation, `chosen` the resolved one, `chain` the launched one. `fallback_reason`
    explains their difference, `auto_reason` the choice of `auto`. `left_out` are the shards of an unfit draft, which
    the plan depends on as well. `draft_is_optional`: the draft may be dropped if memory holds the model only without
    it. `fallback` is the same engine without speculation; None if there is no speculation, or if it must not be
    dropped.
    """

    alias: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: tuple[Path, ...]
    notes: tuple[Note, ...]
    requested_mode: str = NONE
    chosen: str = NONE
    chain: Chain = PLAIN
    fallback_reason: str = ""
    auto_reason: str = ""
    fallback: LaunchPlan | None = None
    engine: tuple[Path, ...] = ()
    named: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    draft_is_optional: bool = False
    # Whether the gateway may save slots, and the reason if not, unless users know it
    saves_slots: bool = False
    why_unsaved: str = ""

    def with_port(self, port: int) -> LaunchPlan:
        """The same plan on another port."""
        return replace(self, argv=listening_at(self.argv, port=port))

    def saving_slots_in(self, folder: Path) -> LaunchPlan:
        """The same plan, with slots saved in this folder."""
        return replace(self, argv=(*self.argv, SLOT_FOLDER, f"{folder}/"))

    def shell_line(self) -> str:
        """The command line on one line, quoted for a shell."""
        return shlex.join(self.argv)


def listening_at(argv: tuple[str, ...], *, port: int, address: str | None = None) -> tuple[str, ...]:
    """The same command line with another port, and another address unless it is None."""
    line = list(argv)
    line[line.index("--port") + 1] = str(port)
    if address is not None and "--host" in line:
        line[line.index("--host") + 1] = address
    return tuple(line)


def build_plan(
    spec: ModelSpec,
    engine: EngineBinary,
    dialect: Dialect,
    *,
    port: int,
    environ: Mapping[str, str],
    config_home: Path,
    fallback_reason: str = "",
    named_files: tuple[Path, ...] = (),
) -> LaunchPlan:
    """Raises LaunchRefusedError if this build cannot launch the entry.

    `fallback_reason` explains why the chain of `spec` is not the requested one. `named_files` are those that flags
    name.
    """
    translation = translate(spec, dialect, port)
    fallback = None
    if spec.chain and (spec.requested_mode == AUTO or spec.options.speculation.on_inert == "plain"):
        plain = replace(spec, chain=PLAIN, draft=None)
        fallback = build_plan(
            plain,
            engine,
            dialect,
            port=port,
            environ=environ,
            config_home=config_home,
            named_files=named_files,
        )
        fallback = replace(fallback, chosen=named(spec.chain))
    firsts = (spec.target, spec.draft, spec.mmproj)
    why_unsaved = _why_unsaved(spec, dialect)
    return LaunchPlan(
        alias=spec.ref.engine_key,
        argv=(*engine.command, *translation.argv),
        env=child_environment(environ, spec.options.env, config_home),
        files=tuple(path for first in firsts if first is not None for path in shards(first)),
        notes=translation.notes,
        requested_mode=spec.requested_mode,
        chosen=named(spec.chain),
        chain=spec.chain,
        fallback_reason=fallback_reason,
        auto_reason=spec.auto_reason,
        fallback=fallback,
        engine=engine.files,
        named=named_files,
        draft_is_optional=spec.draft is not None and spec.options.draft is not None and spec.options.draft.optional,
        saves_slots=spec.purpose is Purpose.COMPLETION and not why_unsaved,
        why_unsaved=why_unsaved,
    )


def _why_unsaved(spec: ModelSpec, dialect: Dialect) -> str:
    if own := own_slot_folder(spec.options.args):
        return f"{own} in args sets a separate folder for saved slots, which the gateway does not use"
    if SLOT_FOLDER not in dialect.flags:
        return f"this llama-server has no {SLOT_FOLDER}"
    return ""
