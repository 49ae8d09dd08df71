"""What the fake Hub holds: repos as commits of files; and how a file can be made to misbehave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Content = bytes | Path
XET_HASH = "1" * 64


@dataclass
class Fault:
    """What the next request for a file's bytes meets; one request uses one fault up, unless it `stays`.

    `cut`: the connection ends after so many bytes of the body. `status`: this instead of bytes, with `retry_after`,
    `location` and `code` (X-Error-Code). `flip`: the byte at this offset of the file is wrong. `rate`: bytes a second.
    `whole`: Range is ignored and the answer is 200 from the first byte.
    """

    cut: int | None = None
    status: int | None = None
    retry_after: str | None = None
    location: str | None = None
    code: str | None = None
    flip: int | None = None
    rate: float | None = None
    whole: bool = False
    stays: bool = False


@dataclass
class File:
    """One version of a file; `said_size` is what the Hub claims where it lies, `xet` whether it says so of it.

    `listed` is what the tree alone says otherwise.
    """

    content: Content
    said_size: int | None = None
    xet: bool = False
    listed: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    @cached_property
    def sha256(self) -> str:
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        with self.content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        """As the Hub's tree and paths-info have it."""
        size = self.size if self.said_size is None else self.said_size
        lfs = {"oid": self.sha256, "size": size, "pointerSize": 135} | self.listed
        xet = {"xetHash": XET_HASH} if self.xet else {}
        return {"type": "file", "path": path, "size": size, "oid": "0" * 40, "lfs": lfs, **xet}


@dataclass
class Repo:
    """`commits` from old to new: id -> path -> file. `gated` and `private` ask for a token of `allowed`."""

    name: str
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    allowed: set[str] = field(default_factory=set)

    def commit(self, files: Mapping[str, Content | File]) -> str:
        """A new head with just these files; returns its id."""
        made = {path: file if isinstance(file, File) else File(file) for path, file in files.items()}
        seed = json.dumps([self.name, len(self.commits), sorted(made)])
        sha = hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = made
        return sha

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def find(self, revision: str) -> str | None:
        """The commit that a branch or an id means."""
        if revision in ("main", ""):
            return self.head
        return revision if revision in self.commits else None

    def described(self, revision: str) -> dict[str, Any]:
        return {
            "_id": "0",
            "id": self.name,
            "modelId": self.name,
            "sha": revision,
            "gated": "manual" if self.gated else False,
            "private": self.private,
            "downloads": 7,
            "likes": 3,
            "tags": ["gguf"],
            "lastModified": "2026-01-02T03:04:05.000Z",
            "siblings": [{"rfilename": path} for path in self.commits[revision]],
        }
