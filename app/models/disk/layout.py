"""Defines where files of a repo are on disk, complete or partial, and what is recorded about them.

A file at `<models_dir>/<repo>/<path>` is complete, since it is renamed into place. Partial files are in
`<models_dir>/<repo>/.tandem`, which the catalog ignores.
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
class FileRecord:
    """The checksum of a complete file. `mtime_ns` and `size` tell whether the file is still the same."""

    revision: str
    digest: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileLocation:
    """The location of one file of a repo. Raises StoreError for unsafe names and for errors of the file system."""

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
        """Creates the folders. Raises StoreError if a link leads out of `models_dir`."""
        for folder in (self.final.parent, self.part.parent):
            # Before any folder is made, since mkdir follows links too
            self._check_inside(folder)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder} cannot be created: {error.strerror}.") from None
            self._check_inside(folder)

    def _check_inside(self, folder: Path) -> None:
        # mkdir reports a cycle of links, resolve does not
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.models_dir)):
            raise StoreError(
                f"{folder} leads out of {self.models_dir} by a symbolic link; point models_dir there instead."
            )

    def record(self) -> FileRecord | None:
        """Returns the record of the complete file, or None if the file is missing or has changed."""
        known = self.last_record()
        try:
            status = self.final.stat()
        except OSError:
            return None
        return known if known and (status.st_size, status.st_mtime_ns) == (known.size, known.mtime_ns) else None

    def last_record(self) -> FileRecord | None:
        """Returns the last record of the complete file, whether it has changed since or not."""
        try:
            return FileRecord(**json.loads(self._record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_record(self, revision: str, digest: str) -> None:
        """Records the digest of the file in place."""
        with in_words(self._record):
            status = self.final.stat()
            record = FileRecord(revision, digest, status.st_size, status.st_mtime_ns)
            self._record.parent.mkdir(parents=True, exist_ok=True)
            beside = self._hidden(f".json-{os.getpid()}")
            beside.write_text(json.dumps(asdict(record)))
            beside.replace(self._record)

    def forget(self) -> None:
        """Removes the record."""
        with in_words(self._record):
            self._record.unlink(missing_ok=True)

    def drop_partial(self) -> None:
        """Removes the partial download."""
        with in_words(self.part):
            self.journal.unlink(missing_ok=True)
            self.part.unlink(missing_ok=True)

    def link(self, target: Path) -> None:
        """Puts a link to the same bytes elsewhere in the file's place, and removes the partial download."""
        self.drop_partial()
        with in_words(self.part):
            self.part.symlink_to(target)
        self.finish()

    def finish(self) -> None:
        """Renames the partial file into place. The caller has synced it, so the file then survives power loss."""
        with in_words(self.final):
            self.part.replace(self.final)
            sync_folder(self.final.parent)
            self.journal.unlink(missing_ok=True)


def room_below(folder: Path) -> int:
    """Returns the free bytes of a folder's file system. The folder may be missing."""
    while not folder.exists():
        folder = folder.parent
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def sync_folder(folder: Path) -> None:
    """Makes a rename durable."""
    # Some file systems do not support fsync of a folder
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
