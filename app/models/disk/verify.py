"""Verifies files on disk against their recorded checksum, else against the Hub's current one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from app.errors import DiskFullError, StoreError
from app.models.disk.checksum import digest_of
from app.models.disk.in_use import holders
from app.models.disk.layout import FileLocation
from app.models.disk.local_model import LocalModel, ModelFile
from app.models.disk.locks import locked
from app.models.disk.os_errors import in_words
from app.models.download.events import DownloadEvent, Emit, Verdict
from app.models.download.file import download, free_bytes
from app.models.download.http import HttpConnections
from app.models.download.journal import FileVersion

if TYPE_CHECKING:
    from app.models.hub.client import Hub
    from app.models.hub.listing import Listing


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """The verdict on one file. `why` is a message, or empty."""

    path: str
    verdict: Verdict
    why: str = ""


class Verifier:
    """Verifies files. `hub` connects to the Hub when needed: recorded files are checked without a network."""

    def __init__(self, hub: Callable[[], Hub], emit: Emit, *, repair: bool = True) -> None:
        self._hub = cache(hub)
        # By repo: the listing, or the reason if it could not be read, so that the wait happens once
        self._listings: dict[str, Listing | str] = {}
        self._emit = emit
        self._repair = repair

    def verify(self, models: Iterable[LocalModel]) -> list[FileVerdict]:
        """Verifies one file after another and reports each verdict. A file that cannot be read or repaired is bad."""
        parts = [(model, part) for model in models for part in model.parts]
        self._emit(DownloadEvent("plan", "", 0, sum(part.received for _, part in parts if part.whole)))
        checked = []
        for model, part in parts:
            name = f"{model.repo}/{part.place.path}" if part.place is not None else str(part.path)
            verdict, why = self._part(part, name)
            checked.append(FileVerdict(name, verdict, why))
            self._emit(DownloadEvent(verdict, name, part.received, part.size or 0, why))
        return checked

    def _part(self, part: ModelFile, name: str) -> tuple[Verdict, str]:
        if not part.whole:
            return "incomplete", "incomplete; pull resumes the download"
        if part.place is None:
            return "unknown", "it was not pulled, so there is no checksum to compare it with"
        place = part.place

        def emit(event: DownloadEvent) -> None:
            self._emit(replace(event, path=name))

        try:
            place.prepare()
            with (
                in_words(place.final),
                locked(place.lock, lambda: emit(DownloadEvent("waiting", name, 0, part.size or 0))),
            ):
                return self._compared(place, emit)
        except StoreError as error:
            return "bad", str(error)

    def _compared(self, place: FileLocation, emit: Emit) -> tuple[Verdict, str]:
        known = place.last_record()
        if known is None:
            return self._unrecorded(place, emit)
        identity = FileVersion(place.repo, place.path, known.revision, known.digest, known.size)
        digest = self._hashed(place, identity.digest, emit)
        if digest == identity.digest:
            place.write_record(identity.revision, identity.digest)
            return "fine", ""
        today = self._of_today(place)
        if isinstance(today, FileVersion) and today.digest == digest:
            place.write_record(today.revision, today.digest)
            return "fine", f"another version than was pulled: the Hub's current one ({today.revision[:12]})"
        return self._bad(place, identity, f"its checksum is {digest}, and should be {identity.digest}", emit)

    def _unrecorded(self, place: FileLocation, emit: Emit) -> tuple[Verdict, str]:
        """Checks a file that another program stored. A difference from the Hub means damage or an older version."""
        today = self._of_today(place)
        if not isinstance(today, FileVersion):
            return "unknown", f"its checksum was not recorded. {today}"
        if self._hashed(place, today.digest, emit) != today.digest:
            return (
                "unknown",
                "it differs from the Hub's current file: damaged, or another version; pull --update replaces it",
            )
        place.write_record(today.revision, today.digest)
        return "fine", ""

    def _hashed(self, place: FileLocation, like: str, emit: Emit) -> str:
        size = place.final.stat().st_size
        return digest_of(place.final, like, lambda at: emit(DownloadEvent("checking", place.path, at, size)))

    def _of_today(self, place: FileLocation) -> FileVersion | str:
        """Returns the file as the Hub has it now, or the reason why that is unknown."""
        if place.repo not in self._listings:
            try:
                self._listings[place.repo] = self._hub().listing(place.repo)
            except StoreError as error:
                self._listings[place.repo] = str(error)
        listing = self._listings[place.repo]
        if isinstance(listing, str):
            return listing
        file = listing.files.get(place.path)
        if file is None:
            return f"The Hub's {place.repo} has no such file."
        return FileVersion(place.repo, place.path, listing.revision, file.digest, file.size)

    def _bad(self, place: FileLocation, identity: FileVersion, why: str, emit: Emit) -> tuple[Verdict, str]:
        if not self._repair:
            return "bad", why
        if free_bytes(place) < identity.size:
            raise DiskFullError(f"{why}. The disk has no room for a second copy: delete it with rm, then pull again.")
        using = holders([place.final])
        linked = place.final.resolve() if place.final.is_symlink() else None
        try:
            self._fetch(place, identity, emit)
        except StoreError as error:
            return "bad", f"{why}; it could not be repaired: {error}"
        if linked is not None:
            why += f"; a new copy replaces the link to {linked}, which was not changed"
        if using:
            why += f"; {', '.join(map(str, using))} uses the damaged bytes until it restarts"
        return "repaired", why

    def _fetch(self, place: FileLocation, identity: FileVersion, emit: Emit) -> None:
        with HttpConnections() as wire:
            download(place, identity, self._hub(), wire, emit)
