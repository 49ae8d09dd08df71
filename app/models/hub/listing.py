"""The files of one commit of a repo, as listed by the Hub or its cache. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubFile:
    """`size` is in bytes, from the Hub. `digest` is as in `ranges.Identity`."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All known files of one commit of a repo."""

    repo: str
    revision: str
    files: dict[str, HubFile]
