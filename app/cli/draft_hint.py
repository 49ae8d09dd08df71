"""Finds a local draft that matches a model. It is suggested to the user, never loaded unasked."""

from __future__ import annotations

from contextlib import suppress

from app.config.settings import Settings
from app.errors import TandemError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.gguf.filenames import is_projector, shards
from app.speculation.compat import Outcome, small_enough, verdict

# Comparing two vocabularies takes some 100 ms
_COMPARED = 5


def draft_for(settings: Settings, alias: str) -> str | None:
    """Returns a value for `--draft`: an alias, a repo with its quantization, or a path."""
    catalog = Catalog(settings)
    with suppress(TandemError, OSError):
        target = shards(catalog.spec(catalog.resolve(alias)).target)
        compared = 0
        for model in inventory(settings, catalog):
            files = [part.path for part in model.parts]
            if model.state != "complete" or is_projector(files[0].name) or files[0] in target:
                continue
            with suppress(TandemError, OSError):
                if not small_enough(target, files):
                    continue
                compared += 1
                if verdict(target, files, translates=False).outcome is Outcome.COMPATIBLE:
                    named = [use.alias for use in model.uses if use.key == "target"]
                    return named[0] if named else str(files[0])
            if compared >= _COMPARED:
                break
    return None
