"""The Hub's own cache (HF_HOME), one repo's folder of it, as huggingface_hub lays it out.

`blobs/` holds the bytes under the Hub's checksum of them, `snapshots/COMMIT/PATH` are links to these, and `refs/main`
holds the commit that `main` was. Not `scan_cache_dir`: it knows nothing of a repo in which one link leads nowhere.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from app.models.gguf.filenames import ANY_GGUF
from app.models.hub.listing import HubFile, Listing

# By their length in hexadecimal digits: sha256 of files that the Hub keeps apart from git (LFS), or git's own
_CHECKSUMS = {64: "sha256", 40: "git"}


def blob(folder: Path, digest: str) -> Path | None:
    """The bytes that have this digest, if they are here."""
    path = folder / "blobs" / digest.partition(":")[2]
    return path if path.is_file() else None


def listings(folder: Path, repo: str) -> list[Listing]:
    """The GGUF files that are here, by commit: that of `main` first, then the latest."""
    main = ""
    with suppress(OSError):
        main = (folder / "refs" / "main").read_text().strip()
    snapshots = [path for path in folder.glob("snapshots/*") if path.is_dir()]
    snapshots.sort(key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)
    return [Listing(repo, path.name, files) for path in snapshots if (files := _files(path))]


def _files(snapshot: Path) -> dict[str, HubFile]:
    files = {}
    for path in sorted(snapshot.rglob(ANY_GGUF)):
        with suppress(OSError):  # no link, or one that leads nowhere
            checksum, size = path.readlink().name, path.stat().st_size
            if kind := _CHECKSUMS.get(len(checksum)):
                files[path.relative_to(snapshot).as_posix()] = HubFile(size, f"{kind}:{checksum}")
    return files
