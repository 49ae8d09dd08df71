"""Where a file of a repo lies on disk, finished or not, and what is written down about it.

`<models_dir>/<repo>/<path>` is complete whenever it is there: it is renamed into place. What is under way lies in
`<models_dir>/<repo>/.tandem`, which the catalog does not look into.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app.errors import StoreError
from app.models.disk.os_errors import in_words
from app.models.gguf.filenames import check_path, check_repo

HIDDEN = ".tandem"


@dataclass(frozen=True, slots=True)
class Record:
    """What a complete file was found to be. `mtime_ns` and `size` tell whether it is still that file."""

    revision: str
    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileLocation:
    """One file of one repo; raises StoreError for names that are no safe path, and for what the file system refuses."""

    models_dir: Path
    repo: str
    path: str

    def __post_init__(self) -> None:
        check_repo(self.repo)
        check_path(self.path)

    @property
    def final(self) -> Path:
        return self.models_dir / self.repo / self.path

    def _hidden(self, suffix: str) -> Path:
        return self.models_dir / self.repo / HIDDEN / f"{self.path}{suffix}"

    @property
    def part(self) -> Path:
        return self._hidden(".part")

    @property
    def journal(self) -> Path:
        return self._hidden(".journal")

    @property
    def lock(self) -> Path:
        return self._hidden(".lock")

    @property
    def _record(self) -> Path:
        return self._hidden(".json")

    def prepare(self) -> None:
        """Makes the folders; raises StoreError where a link would lead out of `models_dir`."""
        for folder in (self.final.parent, self.part.parent):
            # Before anything is made: mkdir would follow a link as gladly as we would write through it
            self._check_inside(folder)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder} cannot be made: {error.strerror}.") from None
            self._check_inside(folder)

    def _check_inside(self, folder: Path) -> None:
        # Not resolve, which has no words for links that go round in a circle: mkdir has
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.models_dir)):
            raise StoreError(
                f"{folder} leads out of {self.models_dir} by a symbolic link; point models_dir there instead."
            )

    def record(self) -> Record | None:
        """What is known of the complete file; None where there is none or it has changed since."""
        known = self.last_record()
        try:
            status = self.final.stat()
        except OSError:
            return None
        return known if known and (status.st_size, status.st_mtime_ns) == (known.size, known.mtime_ns) else None

    def last_record(self) -> Record | None:
        """What the complete file was found to be, whatever it is now."""
        try:
            return Record(**json.loads(self._record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_record(self, revision: str, digest: str) -> None:
        """The file in place has this digest."""
        with in_words(self._record):
            status = self.final.stat()
            record = Record(revision, digest, status.st_size, status.st_mtime_ns)
            self._record.parent.mkdir(parents=True, exist_ok=True)
            beside = self._hidden(f".json-{os.getpid()}")
            beside.write_text(json.dumps(asdict(record)))
            beside.replace(self._record)

    def forget(self) -> None:
        """Removes the record."""
        with in_words(self._record):
            self._record.unlink(missing_ok=True)

    def drop_partial(self) -> None:
        """Removes what a download left half-way."""
        with in_words(self.part):
            self.journal.unlink(missing_ok=True)
            self.part.unlink(missing_ok=True)

    def link(self, target: Path) -> None:
        """A link to the same bytes elsewhere becomes the file, and what was half-way goes."""
        self.drop_partial()
        with in_words(self.part):
            self.part.symlink_to(target)
        self.finish()

    def finish(self) -> None:
        """The partial file, synced by the caller, becomes the file; survives power loss from here on."""
        with in_words(self.final):
            self.part.replace(self.final)
            sync_folder(self.final.parent)
            self.journal.unlink(missing_ok=True)


def room_below(folder: Path) -> int:
    """Bytes that the file system of a folder, which need not be there yet, has left for us."""
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def sync_folder(folder: Path) -> None:
    """Makes a rename durable."""
    # Some file systems take no fsync of a folder; the rename is as durable there as they make it
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
