"""Reads the settings of a running gateway again, checks them completely, and applies the differences.

If a fresh gateway would refuse the settings, nothing changes. They are applied in one turn of the event loop, so every
request sees either the old settings or the new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from app import logs
from app.auth.key_cache import Keyring
from app.auth.keys import from_setting
from app.config.changes import Reloaded, differences, engine_part, same_engine, until_restart
from app.config.exposure import refuse_open_network
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings
from app.config.speculation import AUTO, PLAIN
from app.engine.launch import LaunchPlan
from app.errors import (
    EngineNotFoundError,
    EntryRefusedError,
    ModelExistsError,
    ReloadRefusedError,
    TandemError,
    UnknownAliasError,
)
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.planner import Planner
from app.scheduler.loop import Scheduler

log = logs.get_logger("reload")

Apply = Callable[[Settings], None]


class Reloader:
    """`read` returns the settings as now written. None means that they are in no file.

    `apply` passes settings to all parts except the engines. `only_model` is the model that a start loads unasked.
    """

    def __init__(
        self,
        running: Settings,
        read: Callable[[], Settings] | None,
        *,
        catalog: Catalog,
        planner: Planner,
        scheduler: Scheduler,
        keys: Keyring,
        apply: Apply,
        only_model: Callable[[], ModelRef | None] = lambda: None,
    ) -> None:
        self.running = running
        self._read = read
        self._catalog = catalog
        self._planner = planner
        self._scheduler = scheduler
        self._keys = keys
        self._apply = apply
        self._only_model = only_model
        self._one_at_a_time = asyncio.Lock()
        # Entries outside of any file, by name
        self._ephemeral: dict[str, LocalEntry] = {}

    @property
    def ephemeral(self) -> Mapping[str, LocalEntry]:
        """The models that exist in memory only."""
        return self._ephemeral

    async def add(self, alias: str, entry: LocalEntry) -> tuple[str, ...]:
        """Adds an entry until the gateway ends. Returns reasons why it cannot start yet.

        Raises ModelExistsError, or EntryRefusedError if there is no engine at all.
        """
        async with self._one_at_a_time:
            if (owner := _owner(self._catalog, alias)) is not None:
                raise ModelExistsError(alias, owner)
            new = _with_models(self.running, {**self.running.models, alias: entry})
            try:
                self._check(new)
            except EngineNotFoundError as error:
                raise EntryRefusedError(str(error)) from error
            launches = _Launches(self.running, new, self._planner)
            warnings = await asyncio.to_thread(lambda: tuple(launches.warnings((alias,))))
            self._ephemeral[alias] = entry
            self._take(new)
        log.info("a model was added, until the gateway ends", alias=alias)
        return warnings

    async def remove(self, alias: str) -> None:
        """Removes such an entry after its last answer. Raises UnknownAliasError or EntryRefusedError."""
        async with self._one_at_a_time:
            if alias not in self._ephemeral:
                ref = self._catalog.resolve(alias)
                raise EntryRefusedError(f"'{ref}' is in the settings: remove it there, then reload.")
            del self._ephemeral[alias]
            rest = {name: entry for name, entry in self.running.models.items() if name != alias}
            self._take(_with_models(self.running, rest))
        log.info("a model was removed", alias=alias)

    def _take(self, new: Settings) -> None:
        """Applies settings that differ in whole entries."""
        self._apply(new)
        self.running = new
        self._engines(set())

    async def reload(self, cause: str) -> Reloaded:
        """Returns what has changed. Raises ReloadRefusedError, and then nothing has. Logs one line in either case."""
        async with self._one_at_a_time:
            try:
                done = await self._reload()
            except TandemError as error:
                log.error("reload refused: nothing has changed", cause=cause, error=str(error))
                raise ReloadRefusedError(str(error)) from error
        write = log.warning if done.warnings or done.restart_needed else log.info
        write("reloaded", cause=cause, **{name: names for name, names in done.fields().items() if names})
        return done

    async def _reload(self) -> Reloaded:
        if self._read is None:
            raise ReloadRefusedError("This gateway has no settings file. Restart it to change its settings.")
        new, waiting = until_restart(self.running, await asyncio.to_thread(self._read))
        new, replaced = self._with_ephemeral(new)
        self._check(new)
        done = differences(self.running, new)
        launches = _Launches(self.running, new, self._planner)
        warnings = await asyncio.to_thread(lambda: tuple(launches.warnings((*done.changed, *done.added))))
        engines = self._scheduler.reconfiguration
        loaded = engines.aliases
        other = await asyncio.to_thread(lambda: {alias for alias in loaded if launches.differ(alias)})
        # An engine that was requested meanwhile may have the old settings
        other |= {alias for alias in engines.aliases if alias not in loaded and launches.may_differ(alias)}
        before = self.running.models
        for alias in replaced:
            del self._ephemeral[alias]
        self._apply(new)
        self.running = new
        restarted = self._engines(other)
        self._load_what_is_new(before)
        warnings += tuple(self._scheduler.verbs.warnings(self._local()))
        warnings += tuple(f"{alias} is now in the settings, which replace the temporary model" for alias in replaced)
        return replace(done, restarted=restarted, restart_needed=waiting, warnings=warnings)

    def _load_what_is_new(self, before: Mapping[str, LocalEntry | AttachedEntry]) -> None:
        """Loads what a start with these settings would load, and a start with `before` would not."""
        only = self._only_model()
        if only is not None and [*before] != [only.alias]:
            self._scheduler.verbs.load_soon(only, "the only model now")
        else:
            preloaded = [alias for alias, entry in before.items() if _preload(entry)]
            new = (ref for ref in self._local() if _preload(ref.entry) and ref.alias not in preloaded)
            self._scheduler.preload(new)

    def _local(self) -> list[ModelRef]:
        """The models that engines are started for."""
        return [ref for ref in self._catalog.refs() if isinstance(ref.entry, LocalEntry)]

    def _with_ephemeral(self, new: Settings) -> tuple[Settings, list[str]]:
        """Adds the entries that exist in memory only, and returns the names that the settings now have too."""
        catalog = Catalog(new)
        replaced = [alias for alias in self._ephemeral if _owner(catalog, alias) is not None]
        kept = {alias: entry for alias, entry in self._ephemeral.items() if alias not in replaced}
        return _with_models(new, {**new.models, **kept}), replaced

    def _check(self, new: Settings) -> None:
        """Raises ConfigError or EngineNotFoundError for settings that a fresh gateway would refuse."""
        configured = from_setting(new.api_keys.get_secret_value())
        refuse_open_network(new, key_required=self._keys.would_require(configured, open_to_all=new.no_auth))
        if _any_local(new) and not (_any_local(self.running) and new.llama_server == self.running.llama_server):
            self._planner.sibling(new).binary()

    def _engines(self, other: set[str]) -> tuple[str, ...]:
        """Adds new engines, ends removed ones, restarts those in `other`. Returns the aliases of the restarted ones."""
        restarted, changes = [], self._scheduler.reconfiguration
        for alias in self._scheduler.reconfiguration.aliases:
            if not self._serves(alias):
                changes.remove(alias, partial(UnknownAliasError, alias, self._catalog.known))
                continue
            changes.restore(alias)
            self._scheduler.reread(self._catalog.resolve(alias))
            if alias in other and changes.renew(alias):
                restarted.append(alias)
        for ref in self._local():
            self._scheduler.use(ref)
        return tuple(restarted)

    def _serves(self, alias: str) -> bool:
        """Tells whether the name still has its own engine."""
        try:
            ref = self._catalog.resolve(alias)
        except UnknownAliasError:
            return False
        return ref.engine_key == alias and isinstance(ref.entry, LocalEntry)


class _Launches:
    """Launch plans under the old and the new settings. Blocking calls of milliseconds."""

    def __init__(self, running: Settings, new: Settings, planner: Planner) -> None:
        # An entry that cannot start here may start on a node
        self._alone = new.cluster is None
        self._new_engine = running.llama_server != new.llama_server
        self._planners = planner.sibling(running), planner.sibling(new)
        self._catalogs = Catalog(running), Catalog(new)

    def _refs(self, alias: str) -> tuple[ModelRef, ModelRef] | None:
        """Returns the refs under the old and the new settings, None if a name is missing there."""
        before, after = self._catalogs
        try:
            return before.resolve(alias), after.resolve(alias)
        except UnknownAliasError:
            return None

    def may_differ(self, alias: str) -> bool:
        """Compares the entries as written.

        Entries may differ and make the same engine, such as by two paths to one file.
        """
        refs = self._refs(alias)
        return refs is not None and (self._new_engine or not same_engine(refs[0].entry, refs[1].entry))

    def differ(self, alias: str) -> bool:
        """Tells whether the engine of `alias` would start differently now. An engine without a plan does."""
        if (refs := self._refs(alias)) is None or not self.may_differ(alias):
            return False
        before, after = refs
        if isinstance(before.entry, AttachedEntry) or isinstance(after.entry, AttachedEntry):
            return True
        if before.entry.nodes != after.entry.nodes:
            return True
        if after.entry.nodes:
            return True  # Only a node can plan it
        chain = None
        if before.requested_mode == after.requested_mode == AUTO:
            # A new choice of `auto` is no change of the entry, but a new set of modes is
            parts = engine_part(before.entry), engine_part(after.entry)
            if any(parts[0][key] != parts[1][key] for key in ("draft", "on_inert", "force")):
                return True
            chain = PLAIN
        try:
            plans = [planner.plan_now(ref, chain) for planner, ref in zip(self._planners, refs, strict=True)]
        except (TandemError, OSError):
            return True
        return not _same(*plans)

    def warnings(self, aliases: tuple[str, ...]) -> Iterator[str]:
        """Returns why these cannot start, as `check` reports it."""
        for alias in aliases if self._alone else ():
            ref = self._catalogs[1].resolve(alias)
            if isinstance(ref.entry, LocalEntry) and ref.entry.pull == "never" and not ref.entry.nodes:
                try:
                    self._planners[1].plan_now(ref)
                except TandemError as error:
                    yield f"{alias} cannot start: {error}"


def _owner(catalog: Catalog, name: str) -> str | None:
    """Returns the model that has this name."""
    try:
        return catalog.resolve(name).alias
    except UnknownAliasError:
        return None


def _with_models(settings: Settings, models: Mapping[str, LocalEntry | AttachedEntry]) -> Settings:
    return settings.model_copy(update={"models": dict(models)})


def _any_local(settings: Settings) -> bool:
    return any(isinstance(entry, LocalEntry) for entry in settings.models.values())


def _preload(entry: LocalEntry | AttachedEntry) -> bool:
    return isinstance(entry, LocalEntry) and entry.preload


def _same(before: LaunchPlan | None, after: LaunchPlan | None) -> bool:
    """Tells whether two plans start the same engine, whatever the port."""
    if before is None or after is None:
        return before is after
    return (
        before.with_port(0).argv == after.with_port(0).argv
        and before.env == after.env
        and before.requested_mode == after.requested_mode
        and _same(before.fallback, after.fallback)
    )
