"""What differs between the settings that run and those that were read again: what to apply, and how. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings

# Sockets, ports and folders that are in use: a change of these waits for the next start.
AT_RESTART = frozenset({"host", "port", "admin_port", "engine_port", "models_dir", "state_dir", "cache_dir"})
# All others hold from the reload on; a change of the engine itself starts the engines again.
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
        "max_body_mb",
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
    }
)
# Keys that the gateway goes by, at the next request
GATEWAY_KEYS = frozenset({"aliases", "request", "presets", "pull", "ttl", "pin", "preload", "exclusive", "priority"})
# What `changed`, `added` and `removed` say already
_TOLD_BY_MODEL = frozenset({"models", "defaults"})


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload has done: names of models, then of settings.

    `changed` are entries that differ in anything, `restarted` those of the engines that start again because of it,
    variants by their own names. `settings` hold already, `restart_needed` do not yet.
    """

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    restart_needed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, list[str]]:
        """As JSON has it; a list each."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}

    def words(self) -> list[str]:
        """A line on each part that is not empty, for a person; without the warnings."""
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
    """The new settings with those of the running ones that only a restart can change, and the names of these."""
    waiting = tuple(name for name in sorted(AT_RESTART) if getattr(running, name) != getattr(new, name))
    return new.model_copy(update={name: getattr(running, name) for name in waiting}), waiting


def differences(running: Settings, new: Settings, *, warnings: tuple[str, ...] = ()) -> Reloaded:
    """By what is written, in the order of the new file; which engines that concerns is for others to say."""
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
    """What of an entry decides on the launch of its engines: equal parts make equal engines."""
    part = {name: getattr(entry, name) for name in ENGINE_KEYS - {"speculation"}}
    speculation = entry.speculation
    return part | {"chain": entry.chain, "on_inert": speculation.on_inert, "force": speculation.force}


def same_engine(before: LocalEntry | AttachedEntry, after: LocalEntry | AttachedEntry) -> bool:
    """Whether an engine of the one entry serves the other as it is; not where either is a server of others."""
    if isinstance(before, AttachedEntry) or isinstance(after, AttachedEntry):
        return False
    return engine_part(before) == engine_part(after)
