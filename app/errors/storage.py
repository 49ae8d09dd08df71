"""Errors of records and of model files."""

from __future__ import annotations

from pathlib import Path

from app.errors.base import TandemError


class RecordsError(TandemError):
    """The records cannot be read or written; the text says why and what to do."""


class NewerRecordsError(RecordsError):
    """The file has `version`. This build knows versions up to `known`."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(
            f"cannot use {path}: it has version {version}, and this llama-tandem knows versions up to {known}. "
            "Update llama-tandem, or move the file away to start with an empty one."
        )


class TableMismatchError(RecordsError):
    """The text names the table and the remedy."""


class StoreError(TandemError):
    """A model's files cannot be fetched, kept or removed."""


class HubError(StoreError):
    """The Hub does not answer, or answers with an error. The received bytes are kept."""


class NotOnHubError(HubError):
    """The repo, revision or file does not exist on the Hub."""


class AccessDeniedError(HubError):
    """The text says which token or licence page is missing."""


class OfflineError(HubError):
    """HF_HUB_OFFLINE is set, so the Hub is not asked."""


class DiskFullError(StoreError):
    """The disk has no room. The bytes received so far are kept."""


class ChecksumMismatchError(StoreError):
    """A size or a checksum differs from what the Hub announced."""
