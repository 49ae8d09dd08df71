"""Slots saved to files and restored: in a folder that the entry names, and in no other. Pure."""

from __future__ import annotations

from urllib.parse import parse_qs

from app.config.model_entry import LocalEntry
from app.errors import InvalidBodyError
from app.models.ref import ModelRef

_FLAG = "--slot-save-path"
_ACTIONS = ("save", "restore")


def refuse_other_folders(ref: ModelRef, target: str) -> None:
    """Raises InvalidBodyError; `target` is path and query. An attached server has a folder of its own, or none."""
    path, _, query = target.partition("?")
    action = parse_qs(query).get("action", [""])[0]
    if "/slots/" not in path or action not in _ACTIONS or not isinstance(ref.entry, LocalEntry):
        return
    if _FLAG not in (arg.replace("_", "-") for arg in ref.entry.args):
        raise InvalidBodyError(
            f"'action={action}' needs a folder of the model's own: put {_FLAG} and the folder into args of "
            f"'{ref.alias}' in tandem.yaml.",
            param="action",
        )
