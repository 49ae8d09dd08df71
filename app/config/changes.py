"""Compares the running settings with newly read ones: what a reload applies, and how. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings

# Sockets, ports and folders that are in use: a change of these waits for the next start.
AT_RESTART = frozenset({"host", "port", "admin_port", "engine_port", "models_dir", "state_dir", "cache_dir", "cluster"})
# All others apply at the reload. A change of the engine itself restarts the engines.
IN_PLACE = frozenset(
    {
        "llama_server",
        "api_keys",
        "no_auth",
        "allowed_hosts",
        "cors_origins",
        "allow_remote_media",
        "max_loaded",
        "memory",
        "memory_margin",
        "ttl",
        "max_wait",
        "queue",
        "queue_timeout",
        "drain_timeout",
        "stop_grace",
        "start_stall_timeout",
        "start_timeout",
        "hang_timeout",
        "max_body_mb",
        "max_edit_mb",
        "body_timeout",
        "responses_keep",
        "conversations",
        "captures",
        "log_format",
        "log_level",
        "watch",
        "list_aliases",
        "defaults",
        "models",
    }
)
# Keys of a local entry that reach llama-server
ENGINE_KEYS = frozenset(
    {
        "target",
        "draft",
        "mmproj",
        "speculation",
        "device",
        "ctx_size",
        "parallel",
        "threads",
        "fit",
        "prio",
        "jinja",
        "temp",
        "top_p",
        "args",
        "env",
        "nodes",
    }
)
# Keys that the gateway applies at the next request
GATEWAY_KEYS = frozenset({"aliases", "request", "presets", "pull", "ttl", "pin", "preload", "exclusive", "priority"})
# What `changed`, `added` and `removed` say already
_TOLD_BY_MODEL = frozenset({"models", "defaults"})


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of a reload: names of models, then of settings.

    `changed` are entries with any difference. `restarted` are those whose engines restart because of it, variants by
    their own names. `settings` are applied already, `restart_needed` are not.
    """

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    restart_needed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, list[str]]:
        """Returns the JSON form, with a list per part."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}

    def words(self) -> list[str]:
        """Returns a line per part that is not empty, for a person. Leaves out the warnings."""
        parts = {
            "changed": self.changed,
            "added": self.added,
            "removed": self.removed,
            "engines that start again": self.restarted,
            "settings": self.settings,
            "a restart is needed for": self.restart_needed,
        }
        return [f"{words}: {', '.join(names)}" for words, names in parts.items() if names] or ["nothing has changed"]


def until_restart(running: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Returns the new settings with the current values of those that need a restart, and the names of these."""
    waiting = tuple(name for name in sorted(AT_RESTART) if getattr(running, name) != getattr(new, name))
    return new.model_copy(update={name: getattr(running, name) for name in waiting}), waiting


def differences(running: Settings, new: Settings, *, warnings: tuple[str, ...] = ()) -> Reloaded:
    """Compares entries as written, in the order of the new file. The caller maps them to engines."""
    before, after = running.models, new.models
    differing = (name for name in sorted(IN_PLACE - _TOLD_BY_MODEL) if getattr(running, name) != getattr(new, name))
    return Reloaded(
        changed=tuple(name for name, entry in after.items() if name in before and before[name] != entry),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        settings=tuple(differing),
        warnings=warnings,
    )


def engine_part(entry: LocalEntry) -> Mapping[str, Any]:
    """Returns the part of an entry that determines its launch plans: equal parts make equal engines."""
    part = {name: getattr(entry, name) for name in ENGINE_KEYS - {"speculation"}}
    speculation = entry.speculation
    return part | {"chain": entry.chain, "on_inert": speculation.on_inert, "force": speculation.force}


def same_engine(before: LocalEntry | AttachedEntry, after: LocalEntry | AttachedEntry) -> bool:
    """Tells whether an engine of one entry serves the other unchanged. Never true for an attached server."""
    if isinstance(before, AttachedEntry) or isinstance(after, AttachedEntry):
        return False
    return engine_part(before) == engine_part(after)
