"""What the Hub says of a repo, or its cache does: the files of one commit. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubFile:
    """`size` in bytes as the Hub says; `digest` as `ranges.Identity` has it."""

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one commit of a repo, as far as who lists them knows."""

    repo: str
    revision: str
    files: dict[str, HubFile]
