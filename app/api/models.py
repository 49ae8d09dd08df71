"""The rows of `/v1/models`: read from the catalog and the files' headers, never by loading a model."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from app.config.model_entry import AttachedEntry, LocalEntry
from app.errors import TandemError
from app.models.catalog import Catalog, ModelFilter
from app.models.gguf.filenames import shards
from app.models.gguf.header import Header, parameter_count, read_header
from app.models.purpose import Purpose, purpose
from app.pulls.on_demand import OnDemand
from app.pulls.other_processes import Elsewhere
from app.scheduler.loop import Scheduler
from app.speculation.status import Status

TEMPLATE = "tokenizer.chat_template"


class ModelRows:
    """OpenAI's fields, and those that other clients look for; None where a server would have to be asked.

    While its files are pulled, by whomever, `state` is `downloading`, and `download` says how far that is.
    """

    def __init__(self, catalog: Catalog, scheduler: Scheduler, on_demand: OnDemand, elsewhere: Elsewhere) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._on_demand = on_demand
        self._elsewhere = elsewhere
        self._headers: dict[tuple[Path, int], Header] = {}
        self._parameters: dict[tuple[Path, int], int] = {}

    def all(self, *, variants: bool = False, may: ModelFilter = None) -> list[dict[str, Any]]:
        """One row an entry that `may` be known; with `variants` also one for each way of decoding to pin it to."""
        names = [
            name
            for alias in self._catalog.shown(may)
            for name in (alias, *(f"{alias}:{v}" for v in self._catalog.variants(alias) if variants))
        ]
        return [self.get(name) for name in names]

    def get(self, name: str, may: ModelFilter = None) -> dict[str, Any]:
        """Raises UnknownAlias."""
        alias = self._catalog.canonical(name, may)
        entry = self._catalog.entry(alias)
        row: dict[str, Any] = {"id": alias, "object": "model", "created": 0, "owned_by": "llama-tandem"}
        if isinstance(entry, AttachedEntry):
            unknown = dict.fromkeys(("speculation", "context_length", "max_model_len", "capabilities", "meta"))
            return row | {"state": "attached", "aliases": list(entry.aliases)} | unknown
        use = self._scheduler.uses.get(alias)
        aliases = list(entry.aliases) if alias in self._catalog.entries else []
        row |= {"state": str(use.engine.state) if use else "stopped", "aliases": aliases} | self._download(alias)
        if use and (loading := use.engine.loading) is not None:
            row |= {"loading": loading.fields()}
        status = (use.engine.speculation if use else None) or Status(self._catalog.requested(alias))
        return row | {"speculation": status.fields()} | self._facts(alias, entry)

    def _download(self, alias: str) -> dict[str, Any]:
        """How far the pull of an alias is that has no engine for now, or why it came to nothing."""
        if self._scheduler.is_up(alias):
            return {}
        if (pull := self._on_demand.pull_of(alias)) is not None:
            return {"state": "downloading", "download": pull.progress.fields()}
        if (seen := self._elsewhere.progress(alias)) is not None:
            return {"state": "downloading", "download": seen.fields()}
        failure = self._on_demand.failure(alias)
        return {} if failure is None else {"download": {"error": failure}}

    def header(self, name: str) -> Header | None:
        """Of a local model whose file can be read; raises UnknownAlias."""
        self._catalog.canonical(name)
        with suppress(TandemError, OSError):
            return self._header(self._catalog.spec(name).target)
        return None

    def _facts(self, alias: str, entry: LocalEntry) -> dict[str, Any]:
        target: Path | None = None
        header: Header | None = None
        # A model whose files are not there (yet) is listed with what its entry says.
        with suppress(TandemError, OSError):
            target = self._catalog.spec(alias).target
            header = self._header(target)
        trained = header.context_length if header else None
        context = slot_context(entry, trained)
        meta = {"n_ctx": context, "n_ctx_train": trained, "n_params": None, "size": None}
        with suppress(TandemError, OSError):
            parts = shards(target) if target else []
            meta["size"] = sum(path.stat().st_size for path in parts) or None
            meta["n_params"] = sum(map(self._count, parts)) or None
        return {
            "created": int(target.stat().st_mtime) if target else 0,
            "context_length": context,
            "max_model_len": context,
            "capabilities": capabilities(entry, header),
            "meta": meta,
        }

    def _count(self, path: Path) -> int:
        key = (path, path.stat().st_mtime_ns)
        if key not in self._parameters:
            self._parameters[key] = parameter_count(read_header(path))
        return self._parameters[key]

    def _header(self, path: Path) -> Header:
        key = (path, path.stat().st_mtime_ns)
        if key not in self._headers:
            self._headers[key] = read_header(path)
        return self._headers[key]


def slot_context(entry: LocalEntry, trained: int | None) -> int | None:
    """What one request can use: a slot's share of `ctx_size`, never more than the model was trained for."""
    if entry.ctx_size:
        share = entry.ctx_size // entry.parallel
        return min(share, trained) if trained else share
    return trained // entry.parallel if trained else None


def capabilities(entry: LocalEntry, header: Header | None) -> list[str]:
    """Ollama's words, by the entry and by what the chat template mentions: llama-server goes by it as well."""
    if (served_for := purpose(entry, header)) is not Purpose.COMPLETION:
        return [str(served_for)]
    template = (header.text(TEMPLATE) if header else None) or ""
    words = ["completion"]
    if "tools" in template:
        words.append("tools")
    if "<think>" in template or "enable_thinking" in template:
        words.append("thinking")
    if entry.mmproj is not None:
        words.append("vision")
    return words
