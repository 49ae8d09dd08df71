"""Allows a client to save, restore and erase slots only in a folder that the entry names. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote

from app.config.conversations import own_slot_folder
from app.config.model_entry import LocalEntry
from app.errors import SlotActionRefusedError
from app.models.ref import ModelRef

_SLOT_ACTION = re.compile(r"(?:/v1)?/+slots/.*")


def refuse_other_folders(ref: ModelRef, target: str) -> None:
    """Raises SlotActionRefusedError if the entry names no folder. `target` is path and query of a POST.

    Without a folder of the entry's own, the slot files are conversations that the gateway keeps between two loads. An
    attached server manages its own folder.
    """
    if not isinstance(ref.entry, LocalEntry) or not _SLOT_ACTION.fullmatch(unquote(target.partition("?")[0])):
        return
    if not own_slot_folder(ref.entry.args):
        raise SlotActionRefusedError(
            "This model's slots cannot be saved, restored or erased: put --slot-save-path and a folder into args in "
            "the entry of tandem.yaml. The gateway then saves none of its conversations itself."
        )
