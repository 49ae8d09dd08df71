"""Pulls the files that an alias or `hf:repo` needs, at one revision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.config.settings import Settings
from app.errors import DiskFullError, OfflineError, StoreError
from app.models.disk.checksum import digest_of
from app.models.disk.layout import FileLocation, FileRecord
from app.models.disk.locks import locked
from app.models.disk.os_errors import in_words
from app.models.download.events import DownloadEvent, Emit
from app.models.download.file import download, free_bytes
from app.models.download.http import HttpConnections
from app.models.download.journal import FileVersion
from app.models.download.partial import announce, received_of
from app.models.download.pull_item import PullItem
from app.models.gguf.filenames import (
    ANY_GGUF,
    by_model,
    check_path,
    check_shards,
    is_prediction_head,
    is_safe,
    projector_for,
    projectors,
    quantization_of,
    shard_of,
)
from app.models.gguf.header import read_header
from app.models.hub.listing import HubFile, Listing
from app.terminal import size_in_words

if TYPE_CHECKING:
    from app.models.hub.client import Hub

MARGIN = 512 << 20  # Kept free, since a full disk breaks more than a pull


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """The files of one model at one revision. `notes` are messages, `projectors` and `heads` the repo's."""

    item: PullItem
    revision: str
    files: tuple[FileVersion, ...]
    notes: tuple[str, ...] = ()
    projectors: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    @property
    def projector(self) -> str | None:
        """The projector that fits the model, or None if there is none or the names are ambiguous."""
        return projector_for((identity.path for identity in self.files), self.projectors)


class Puller:
    """Plans, then fetches. Every method raises StoreError or a subclass."""

    def __init__(
        self, settings: Settings, hub: Hub, emit: Emit, *, free: Callable[[FileLocation], int] = free_bytes
    ) -> None:
        self._models_dir = settings.models_dir
        self._hub = hub
        self._emit = emit
        self._free = free

    def plan(self, item: PullItem, *, update: bool = False) -> DownloadPlan:
        """Chooses files and revision. Without `update` it keeps the revision of the files here, while the Hub has it.

        Raises OfflineError if the Hub may not be asked and a file is missing here.
        """
        try:
            listing = self._hub.listing(item.repo)
        except OfflineError:
            if (plan := self._offline(item)) is None:
                raise
            return plan
        paths = _one_model(listing, item)
        pinned = self._other_versions(listing, paths)
        if update or not pinned:
            return self._planned(item, listing, paths)
        if len(set(pinned.values())) > 1:
            raise StoreError(
                f"{item.repo}: the files here are from several revisions; pull --update fetches one revision."
            )
        revision = next(iter(pinned.values()))
        note = (
            f"{item.repo} has changed on the Hub: the local revision is {revision[:12]}, the Hub's "
            f"{listing.revision[:12]}; the local one is kept (--update downloads the new one)"
        )
        try:
            old = self._hub.listing(item.repo, revision)
        except StoreError as error:
            raise StoreError(f"{note}. The rest of the local revision is not available: {error}") from None
        return self._planned(item, old, _one_model(old, item), note)

    def _other_versions(self, listing: Listing, paths: Iterable[str]) -> dict[str, str]:
        """Maps path to revision for files here, complete or not, whose bytes differ from the Hub's now."""
        revisions = {}
        for path in paths:
            place = FileLocation(self._models_dir, listing.repo, path)
            record, partial = place.record(), received_of(place)
            known = record or (partial.identity if partial is not None and partial.received else None)
            if known is not None and known.digest != listing.files[path].digest:
                revisions[path] = known.revision
        return revisions

    def _planned(self, item: PullItem, listing: Listing, paths: Iterable[str], *notes: str) -> DownloadPlan:
        files = tuple(
            FileVersion(listing.repo, path, listing.revision, listing.files[path].digest, listing.files[path].size)
            for path in paths
        )
        safe, planned = list(filter(is_safe, listing.files)), {identity.path for identity in files}
        heads = tuple(path for path in sorted(safe) if is_prediction_head(path) and path not in planned)
        return DownloadPlan(item, listing.revision, files, notes, tuple(projectors(safe)), heads)

    def _offline(self, item: PullItem) -> DownloadPlan | None:
        """Plans with the files of this machine: recorded ones, else the Hub's own cache."""
        recorded = self._recorded(item)
        complete = {path: HubFile(record.size, record.digest) for path, record in recorded.items()}
        revision = next((record.revision for record in recorded.values()), "")
        sources = [("complete here", Listing(item.repo, revision, complete))]
        for cached in self._hub.cached_listings(item.repo):
            # Files here belong to the model only at the same revision
            same = {path: complete[path] for path, record in recorded.items() if record.revision == cached.revision}
            where = f"in the Hub's cache at revision {cached.revision[:12]}"
            sources.append((where, replace(cached, files=cached.files | same)))
        for where, listing in sources:
            with suppress(StoreError):  # Incomplete, or more than one model
                note = f"{item.repo}: {where}; not compared with the Hub (HF_HUB_OFFLINE)"
                plan = self._planned(item, listing, _one_model(listing, item), note)
                beside = self._recorded(PullItem(item.repo, projector=True))
                return replace(plan, projectors=tuple(sorted({*plan.projectors, *beside})))
        return None

    def _recorded(self, item: PullItem) -> dict[str, FileRecord]:
        """Returns recorded complete files that match, by their path in the repo."""
        folder = self._models_dir / item.repo
        records = {}
        for path in item.chosen(path.relative_to(folder).as_posix() for path in folder.rglob(ANY_GGUF)):
            with suppress(StoreError):  # Another program's file, whose name may not exist on the Hub
                if (record := FileLocation(self._models_dir, item.repo, path).record()) is not None:
                    records[path] = record
        return records

    def pull(self, items: Iterable[PullItem], *, update: bool = False) -> list[Path]:
        """Pulls everything an item needs, and checks it. Returns the files, shards in order."""
        with in_words(self._models_dir):
            return self.fetch([self.plan(item, update=update) for item in items], update=update)

    def fetch(self, plans: list[DownloadPlan], *, update: bool = False) -> list[Path]:
        """Fetches what `plan` chose, and returns as `pull` does."""
        with in_words(self._models_dir):
            self.check_disk(plans)
            self._prepare(plans)
            with HttpConnections() as wire:
                return [path for plan in plans for path in self._fetched(plan, wire, update)]

    def _fetched(self, plan: DownloadPlan, wire: HttpConnections, update: bool) -> list[Path]:
        for note in plan.notes:
            self._note(plan.item.repo, note)
        for identity in plan.files:
            self._fetch_one(identity, wire, update)
        paths = [FileLocation(self._models_dir, identity.repo, identity.path).final for identity in plan.files]
        check_headers(paths)
        return paths

    def _prepare(self, plans: list[DownloadPlan]) -> None:
        for plan in plans:
            for identity in plan.files:
                place = FileLocation(self._models_dir, identity.repo, identity.path)
                place.prepare()
                if not place.final.exists():
                    announce(place, identity)

    def _note(self, path: str, text: str) -> None:
        self._emit(DownloadEvent("note", path, text=text))

    def here(self, identity: FileVersion) -> int:
        """Returns the bytes of a file that need no download. An outdated version counts 0."""
        place = FileLocation(self._models_dir, identity.repo, identity.path)
        record = place.record()
        if place.final.exists() and (record is None or record.digest == identity.digest):
            return identity.size
        if self._hub.cached(identity) is not None:
            return identity.size
        partial = received_of(place)
        return partial.bytes_received if partial is not None and partial.identity.digest == identity.digest else 0

    def check_disk(self, plans: list[DownloadPlan]) -> None:
        """Reports how many bytes are to come. Raises DiskFullError if they do not fit."""
        # A file may be needed twice
        files = {identity: self.here(identity) for plan in plans for identity in plan.files}
        if not files:
            return
        have, total = sum(files.values()), sum(identity.size for identity in files)
        self._emit(DownloadEvent("plan", "", have, total))
        for identity, here in files.items():
            self._emit(DownloadEvent("file", identity.path, here, identity.size))
        free = self._free(FileLocation(self._models_dir, identity.repo, identity.path))
        if have < total and free < total - have + MARGIN:
            raise DiskFullError(
                f"{self._models_dir}: the download needs {size_in_words(total - have)} and must leave "
                f"{size_in_words(MARGIN)} free, but {size_in_words(free)} are free. Make room, or point models_dir "
                "elsewhere."
            )

    def _fetch_one(self, identity: FileVersion, wire: HttpConnections, update: bool) -> None:
        place = FileLocation(self._models_dir, identity.repo, identity.path)

        def waiting() -> None:
            partial = received_of(place)
            received = partial.bytes_received if partial is not None else 0
            self._emit(DownloadEvent("waiting", identity.path, received, identity.size))

        with locked(place.lock, waiting):
            if not self._is_here(place, identity, update) and not self._use_cached(place, identity):
                download(place, identity, self._hub, wire, self._emit)
        self._emit(DownloadEvent("done", identity.path, identity.size, identity.size))

    def _is_here(self, place: FileLocation, identity: FileVersion, update: bool) -> bool:
        """Tells whether a file is complete here. A file without a record, from another program, is hashed once."""
        record = place.record()
        if record is None:
            if not place.final.exists():
                return False
            digest, revision = self._hashed(place.final, identity), ""
        else:
            digest, revision = record.digest, record.revision
        if digest == identity.digest:
            # A commit that keeps these bytes has them too. A pull has all shards from one commit. Offline that cannot
            # be checked
            if revision != identity.revision and not (record and self._hub.offline):
                place.write_record(identity.revision, digest)
            return True
        if update:
            return False
        raise StoreError(
            f"{place.final} differs from the Hub's file of this name. "
            "`verify` repairs a damaged file, `pull --update` replaces it."
        )

    def _hashed(self, path: Path, identity: FileVersion) -> str:
        def done(at: int) -> None:
            self._emit(DownloadEvent("checking", identity.path, at, identity.size))

        return digest_of(path, identity.digest, done)

    def _use_cached(self, place: FileLocation, identity: FileVersion) -> bool:
        """Links to the file in the Hub's own cache if that has the right bytes."""
        cached = self._hub.cached(identity)
        if cached is None or cached.stat().st_size != identity.size:
            return False
        # First, since the file here may be the better one, complete or not
        if self._hashed(cached, identity) != identity.digest:
            self._note(identity.path, f"{cached} in the Hub's cache has wrong bytes: not used")
            return False
        place.link(cached)
        place.write_record(identity.revision, identity.digest)
        self._note(identity.path, f"{identity.path}: used in place from the Hub's cache ({cached})")
        return True


def _one_model(listing: Listing, item: PullItem) -> list[str]:
    """Returns the paths of the one requested model, shards in order. Raises StoreError."""
    paths = [check_path(path) for path in item.chosen(listing.files)]
    models = by_model(paths)
    if len(models) == 1:
        check_shards(*next(iter(models.items())))
        return paths
    everything = by_model(filter(is_safe, PullItem(item.repo, projector=item.projector).chosen(listing.files)))
    known = {(not item.projector and quantization_of(files[0])) or files[0] for files in everything.values()}
    names = ", ".join(sorted(known))
    what = "multimodal projector" if item.projector else "GGUF model"
    if not known:
        raise StoreError(f"{item.repo} has no {what}.{'' if item.projector else elsewhere(item.repo)}")
    if not models:
        raise StoreError(f"{item.repo}: no {what} there matches {item.pattern!r}. Available: {names}.")
    if item.projector:
        raise StoreError(f"{item.repo}: {len(models)} multimodal projectors match; narrow include to one of {names}.")
    raise StoreError(
        f"{item.repo}: {len(models)} models there match; name one, such as hf:{item.repo}:"
        f"{quantization_of(paths[0]) or 'Q4_K_M'}. Available: {names}."
    )


def elsewhere(repo: str) -> str:
    """A sentence on where others usually put the GGUF files of a model, with a blank before it; or nothing."""
    name = repo.rpartition("/")[2]
    return "" if "gguf" in name.lower() else f" `llama-tandem search {name}` may find a repo that has."


def check_headers(paths: list[Path]) -> None:
    """Checks the shards' numbers and counts. Raises GgufError, or StoreError for files of different models."""
    for path in paths:
        header, shard = read_header(path), shard_of(path.name)
        if shard is None:
            continue
        in_header = (header.number("split.no"), header.number("split.count"))
        if in_header != (shard[0] - 1, shard[1]):
            raise StoreError(
                f"{path}: its name says shard {shard[0]} of {shard[1]}, its header split.no {in_header[0]} of "
                f"{in_header[1]}: the files on the Hub do not belong together."
            )
    if not read_header(paths[0]).architecture:
        raise StoreError(f"{paths[0]}: its header names no architecture: no engine can load it.")
