"""Reads the files of each model for `/v1/models`: in a thread, and again once the last look is a second old.

Three hundred models are a thousand calls of `stat`, for which no stream should wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.config.model_entry import LocalEntry
from app.errors import TandemError
from app.models.catalog import Catalog
from app.models.gguf.filenames import shards
from app.models.gguf.header import Header
from app.models.gguf.header_cache import Stamp, header_of, parameters_in
from app.models.ref import ModelRef

# Seconds for which a look is good
GOOD_S = 0.7
Stamps = tuple[Stamp, ...]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the files of a model say; nothing if one is missing. `created` is in seconds since the epoch."""

    target: Path | None = None
    header: Header | None = None
    size: int | None = None
    parameters: int | None = None
    created: int = 0


@dataclass(frozen=True, slots=True)
class _Look:
    """The files of a model and their stamps. No paths if a file is missing, or if a pattern has to be matched again."""

    entry: LocalEntry
    paths: tuple[Path, ...]
    stamps: Stamps
    facts: FileFacts


class ModelFiles:
    """The last look at the files of each model. `clock` is in seconds."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalog = catalog
        self._clock = clock
        self._looks: dict[str, _Look] = {}
        self._looked = float("-inf")
        self._looking: asyncio.Future[None] | None = None

    async def refresh(self) -> None:
        """Looks at all files in a thread, unless the last look is still good. Callers share a look."""
        if self._clock() - self._looked < GOOD_S:
            return
        if self._looking is None:
            self._looking = asyncio.ensure_future(asyncio.to_thread(self.look_at, self._local()))
            self._looking.add_done_callback(self._looked_at)
        await asyncio.shield(self._looking)

    def of(self, ref: ModelRef, key: str) -> FileFacts:
        """Returns the facts of the last look, or of a first one. `key` is the ref's engine key."""
        look = self._looks.get(key)
        if look is None or look.entry is not ref.entry:
            self.look_at([ref])
            look = self._looks[key]
        return look.facts

    def look_at(self, refs: Iterable[ModelRef]) -> None:
        """Looks at the files of these models. It may block, for a disk or for the headers of new files."""
        for ref in refs:
            known = self._looks.get(ref.engine_key)
            if known is None or known.entry is not ref.entry or not known.paths or _stamps(known.paths) != known.stamps:
                self._looks[ref.engine_key] = self._look(ref)

    def _looked_at(self, done: asyncio.Future[None]) -> None:
        self._looking, self._looked = None, self._clock()

    def _local(self) -> list[ModelRef]:
        """Returns the models with files. A variant counts once it has been listed."""
        refs = {ref.alias: ref for ref in self._catalog.refs() if isinstance(ref.entry, LocalEntry)}
        others = self._looks.keys() - refs.keys()
        if others:
            # A reload may have made one of them an attached server
            variants = self._catalog.refs(variants=True)
            listed = {ref.engine_key: ref for ref in variants if isinstance(ref.entry, LocalEntry)}
            for key in others:
                if key in listed:
                    refs[key] = listed[key]
                else:
                    del self._looks[key]
        return list(refs.values())

    def _look(self, ref: ModelRef) -> _Look:
        entry = ref.local_entry
        try:
            spec = self._catalog.spec(ref)
            parts = tuple(shards(spec.target))
            others = [path for path in (spec.draft, spec.mmproj) if path is not None]
            paths = (*parts, *(shard for path in others for shard in shards(path)))
            stamps = _stamps(paths)
        except (TandemError, OSError):
            return _Look(entry, (), (), FileFacts())
        by_path = all(files is None or files.path is not None for files in (entry.target, entry.draft, entry.mmproj))
        # `stamps` begins with the target's shards
        facts = _read(parts, stamps[: len(parts)])
        return _Look(entry, paths if by_path else (), stamps, facts)


def _read(parts: tuple[Path, ...], stamps: Stamps) -> FileFacts:
    known = [_known_of(path) for path in parts]
    counts = [one[1] for one in known if one is not None]
    return FileFacts(
        target=parts[0],
        header=known[0][0] if known[0] is not None else None,
        size=sum(stamp[1] for stamp in stamps) or None,
        parameters=(sum(counts) or None) if len(counts) == len(parts) else None,
        created=stamps[0][2] // 10**9,
    )


def _known_of(path: Path) -> tuple[Header, int] | None:
    with suppress(TandemError, OSError):
        return header_of(path), parameters_in(path)
    return None


def _stamps(paths: Iterable[Path]) -> Stamps:
    """Returns inode, size and time of each file, and zeros for a missing one."""
    stamps = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            stamps.append((0, 0, 0))
        else:
            stamps.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(stamps)
