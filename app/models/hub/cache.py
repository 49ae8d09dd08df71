"""Reads one repo in the Hub's own cache (HF_HOME), in the layout of huggingface_hub.

`blobs/` holds bytes by their checksum. `snapshots/COMMIT/PATH` are links to blobs. `refs/main` holds the last known
commit of `main`. `scan_cache_dir` is not used, since it skips a repo with one broken link.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from app.models.gguf.filenames import ANY_GGUF
from app.models.hub.listing import HubFile, Listing

# By the number of hexadecimal digits: sha256 for LFS files, or git's blob hash
_CHECKSUMS = {64: "sha256", 40: "git"}


def blob(folder: Path, digest: str) -> Path | None:
    """Returns the path of the bytes with this digest, if present."""
    path = folder / "blobs" / digest.partition(":")[2]
    return path if path.is_file() else None


def listings(folder: Path, repo: str) -> list[Listing]:
    """Returns the GGUF files here by commit: first that of `main`, then the latest."""
    main = ""
    with suppress(OSError):
        main = (folder / "refs" / "main").read_text().strip()
    snapshots = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    snapshots.sort(key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)
    return [Listing(repo, path.name, files) for path in snapshots if (files := _files(path))]


def _files(snapshot: Path) -> dict[str, HubFile]:
    files = {}
    for path in sorted(snapshot.rglob(ANY_GGUF)):
        with suppress(OSError):  # No link, or a broken one
            checksum, size = path.readlink().name, path.stat().st_size
            if kind := _CHECKSUMS.get(len(checksum)):
                files[path.relative_to(snapshot).as_posix()] = HubFile(size, f"{kind}:{checksum}")
    return files
