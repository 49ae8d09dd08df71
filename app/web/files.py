"""The page's files, read once: name -> bytes, media type and ETag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"
# A fixed table: `mimetypes` reads the machine's, and browsers refuse modules of another type
_MEDIA_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes
    media_type: bytes
    etag: bytes


@cache
def page_files() -> dict[str, PageFile]:
    """Returns all of them: below 150 KB."""
    paths = (path for path in FOLDER.iterdir() if path.suffix in _MEDIA_TYPES)
    return {path.name: _file(path) for path in paths}


def _file(path: Path) -> PageFile:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return PageFile(content, _MEDIA_TYPES[path.suffix], etag.encode())
