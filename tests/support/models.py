"""Refs for tests that need a name and no catalog, and the files of a name."""

from __future__ import annotations

from app.config.model_entry import AttachedEntry, Files, LocalEntry
from app.models.catalog import Catalog, ModelSpec
from app.models.ref import ModelRef

LOCAL = LocalEntry(target=Files.model_validate({"path": "/m.gguf"}))


def ref_to(alias: str, variant: str = "", entry: LocalEntry | AttachedEntry = LOCAL) -> ModelRef:
    """As `Catalog.resolve` would give it."""
    return ModelRef(alias, entry, variant)


def spec_of(catalog: Catalog, name: str) -> ModelSpec:
    """The files that a name means."""
    return catalog.spec(catalog.resolve(name))
