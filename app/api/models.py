"""The rows of `/v1/models`: of loaded engines by their own reports, of others by the catalog and the files' headers.

It loads no model and calls no engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app.api.model_files import FileFacts, ModelFiles
from app.config.model_entry import AttachedEntry, LocalEntry
from app.models.catalog import Catalog, ModelFilter
from app.models.chat_template import takes_tools, template_of, thinks
from app.models.gguf.filenames import shards
from app.models.gguf.header import Header
from app.models.purpose import Purpose, purpose
from app.models.ref import ModelRef
from app.pulls.on_demand import OnDemand
from app.pulls.other_processes import OtherPulls
from app.scheduler.loop import Scheduler
from app.speculation.status import Status
from app.supervisor.engine_facts import EngineFacts


class ModelRows:
    """Makes the rows of `/v1/models`: OpenAI's fields, and those of other clients. None if only the server knows it.

    During a download of its files, by any process, `state` is `downloading`, and `download` has the progress. If a
    file was replaced or deleted under a running engine, the row describes what runs, and `file_changed` explains it.
    `list_aliases` tells whether aliases have rows of their own, `warning` is a warning about a model.
    `conversations_off` says why a model's conversations do not survive a swap, unless a setting turns that off.
    `clock` is in seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        scheduler: Scheduler,
        on_demand: OnDemand,
        elsewhere: OtherPulls,
        list_aliases: Callable[[], bool] = lambda: False,
        warning: Callable[[str], str | None] = lambda _: None,
        why_unsaved: Callable[[str], str] = lambda _: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._on_demand = on_demand
        self._elsewhere = elsewhere
        self._list_aliases = list_aliases
        self._warning = warning
        self._why_unsaved = why_unsaved
        self._files = ModelFiles(catalog, clock)
        # By name, the rows of models that no request has named
        self._at_rest: dict[str, tuple[LocalEntry, FileFacts, dict[str, Any]]] = {}

    async def listed(self, *, variants: bool = False, may: ModelFilter = None) -> list[dict[str, Any]]:
        """Returns the same as `all`, with a look at files that is less than a second old."""
        await self._files.refresh()
        return self.all(variants=variants, may=may)

    def all(self, *, variants: bool = False, may: ModelFilter = None) -> list[dict[str, Any]]:
        """Returns a row for each entry and preset that `may` allows. With `variants` also one for each variant.

        The row of a preset, or of an alias, has the entry's name as `root`.
        """
        rows = []
        for ref in self._catalog.refs(may, presets=True, variants=variants):
            row = self._row(ref)
            rows.append(row)
            if self._list_aliases():
                rows += [row | {"id": alias, "aliases": [], "root": ref.name} for alias in row["aliases"]]
        return rows

    def get(self, name: str, may: ModelFilter = None) -> dict[str, Any]:
        """Looks at the model's files. Raises UnknownAliasError."""
        ref = self._catalog.resolve(name, may)
        if isinstance(ref.entry, LocalEntry):
            self._files.look_at([ref])
        return self._row(ref)

    def _row(self, ref: ModelRef) -> dict[str, Any]:
        if isinstance(ref.entry, LocalEntry) and not self._scheduler.named(key := ref.engine_key):
            row = self._row_at_rest(ref, ref.entry, key)
            more = self._download(ref) | self._remarks(ref, key)
            return row | more if more else row
        return self._whole_row(ref)

    def _row_at_rest(self, ref: ModelRef, entry: LocalEntry, key: str) -> dict[str, Any]:
        """Returns the row of a model that no request has named, which changes with its files only."""
        files = self._files.of(ref, key)
        known = self._at_rest.get(ref.name)
        if known is None or known[0] is not entry or known[1] is not files:
            known = self._at_rest[ref.name] = entry, files, self._whole_row(ref)
        return known[2]

    def _remarks(self, ref: ModelRef, key: str) -> dict[str, Any]:
        remarks = {} if (warning := self._warning(ref.name)) is None else {"warning": warning}
        return remarks | {"conversations_off": why} if (why := self._why_unsaved(key)) else remarks

    def _whole_row(self, ref: ModelRef) -> dict[str, Any]:
        entry = ref.entry
        row: dict[str, Any] = {"id": ref.name, "object": "model", "created": 0, "owned_by": "llama-tandem"}
        aliases = list(entry.aliases) if ref.name == ref.alias else []
        row |= {"root": ref.alias} if ref.preset else {}
        if isinstance(entry, AttachedEntry):
            unknown = dict.fromkeys(("speculation", "context_length", "max_model_len", "capabilities", "meta"))
            return row | {"state": "attached", "aliases": aliases} | unknown
        engine = self._scheduler.status(ref)
        row |= {"state": str(engine.state), "aliases": aliases} | ({} if engine.up else self._download(ref))
        if engine.loading is not None:
            row |= {"loading": engine.loading.fields()}
        row |= self._remarks(ref, ref.engine_key)
        status = engine.speculation or Status(ref.requested_mode)
        return row | {"speculation": status.fields()} | self._facts(ref, entry, engine.facts)

    def _download(self, ref: ModelRef) -> dict[str, Any]:
        """Returns the progress of a model's pull, or its failure. The model has no engine for now."""
        if (pull := self._on_demand.pull_of(ref)) is not None:
            return {"state": "downloading", "download": pull.progress.fields()}
        if (seen := self._elsewhere.progress(ref)) is not None:
            return {"state": "downloading", "download": seen.fields()}
        failure = self._on_demand.failure(ref)
        return {} if failure is None else {"download": {"error": failure}}

    def header(self, name: str) -> Header | None:
        """Returns the header of a loaded engine's file, or of a readable local file. Raises UnknownAlias."""
        return self._header_of(self._catalog.resolve(name))

    def _header_of(self, ref: ModelRef) -> Header | None:
        if (facts := self._running(ref)) is not None and facts.files.changed:
            return facts.files.header
        return self._files.of(ref, ref.engine_key).header if isinstance(ref.entry, LocalEntry) else None

    def template(self, name: str) -> str:
        """Returns the chat template in use, or "" if there is none or it is unknown."""
        ref = self._catalog.resolve(name)
        entry, facts = ref.entry, self._running(ref)
        if facts is not None and facts.template is not None:
            return facts.template
        return template_of(entry, self._header_of(ref)) if isinstance(entry, LocalEntry) else ""

    def _running(self, ref: ModelRef) -> EngineFacts | None:
        return self._scheduler.status(ref).facts

    def _facts(self, ref: ModelRef, entry: LocalEntry, running: EngineFacts | None) -> dict[str, Any]:
        if running is not None and (changed := running.files.changed):
            return _of_what_runs(running, entry) | {"file_changed": changed}
        return _of_files(entry, self._files.of(ref, ref.engine_key), running)


def _of_files(entry: LocalEntry, files: FileFacts, running: EngineFacts | None) -> dict[str, Any]:
    """Returns what the entry and the files say. A model with missing files is listed with the data of its entry."""
    trained = files.header.context_length if files.header else None
    context = (running.context if running else None) or slot_context(entry, trained)
    meta = {"n_ctx": context, "n_ctx_train": trained, "n_params": files.parameters, "size": files.size}
    return _row(files.created, context, capabilities(entry, files.header, running), meta)


def _row(created: int, context: int | None, words: list[str], meta: dict[str, int | None]) -> dict[str, Any]:
    fields = {"created": created, "context_length": context, "max_model_len": context}
    return fields | {"capabilities": words, "meta": meta}


def _of_what_runs(facts: EngineFacts, entry: LocalEntry) -> dict[str, Any]:
    """Returns the facts of an engine whose files have changed since its start."""
    header, stamps = facts.files.header, facts.files.stamps
    trained = facts.trained or (header.context_length if header else None)
    context = facts.context or slot_context(entry, trained)
    of_target = set(shards(stamps[0].path)) if stamps else set()
    size = sum(stamp.size for stamp in stamps if stamp.path in of_target) or None
    meta = {"n_ctx": context, "n_ctx_train": trained, "n_params": facts.parameters, "size": size}
    created = int(stamps[0].mtime_ns / 1e9) if stamps else 0
    return _row(created, context, capabilities(entry, header, facts), meta)


# All slots share one pool, and each may use all of it.
_UNIFIED = frozenset({"-kvu", "--kv-unified"})
_SEPARATE = frozenset({"-no-kvu", "--no-kv-unified"})


def slot_context(entry: LocalEntry, trained: int | None) -> int | None:
    """Returns the context of one request: a slot's share of `ctx_size`, at most the trained context."""
    flags = [flag for arg in entry.args if (flag := arg.replace("_", "-")) in _UNIFIED | _SEPARATE]
    slots = 1 if flags and flags[-1] in _UNIFIED else entry.parallel
    if entry.ctx_size:
        share = entry.ctx_size // slots
        return min(share, trained) if trained else share
    return trained // slots if trained else None


def capabilities(entry: LocalEntry, header: Header | None, facts: EngineFacts | None = None) -> list[str]:
    """Returns Ollama's names of capabilities: by the loaded engine, else by the entry and the chat template."""
    if (served_for := purpose(entry, header)) is not Purpose.COMPLETION:
        return [str(served_for)]
    template = template_of(entry, header) if facts is None or facts.template is None else facts.template
    words = ["completion"]
    # Without Jinja llama-server refuses tools, and its own templates do not support thinking.
    if entry.jinja is not False:
        tools = facts.tools if facts is not None else None
        words += ["tools"] if (takes_tools(template) if tools is None else tools) else []
        words += ["thinking"] if thinks(template) else []
    vision = facts.vision if facts is not None else None
    words += ["vision"] if (entry.mmproj is not None if vision is None else vision) else []
    words += ["audio"] if facts is not None and facts.audio else []
    return words
