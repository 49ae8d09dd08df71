"""Packs a model's thoughts into a text that clients store and send back. Pure.

It is encoded, not encrypted: the same answer contains the thoughts in clear text.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

_PREFIX = "lt1."


def pack(text: str) -> str:
    return _PREFIX + urlsafe_b64encode(text.encode("utf-8", "replace")).decode()


def unpack(packed: str) -> str | None:
    """Returns the thoughts, or None for another server's text."""
    if not packed.startswith(_PREFIX):
        return None
    try:
        return urlsafe_b64decode(packed.removeprefix(_PREFIX)).decode()
    except (binascii.Error, ValueError):
        return None


def mark(text: str) -> str:
    """Returns a short text that identifies a longer one, which is sent beside it."""
    return urlsafe_b64encode(blake2b(text.encode("utf-8", "replace"), digest_size=24).digest()).decode()
