"""A model's thoughts as a text that a client keeps and sends back unread. Pure.

Encoded, not encrypted: the client may read all of it in the same answer.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

_PREFIX = "lt1."


def pack(text: str) -> str:
    return _PREFIX + urlsafe_b64encode(text.encode("utf-8", "replace")).decode()


def unpack(packed: str) -> str | None:
    """The text; None where another server has made it."""
    if not packed.startswith(_PREFIX):
        return None
    try:
        return urlsafe_b64decode(packed.removeprefix(_PREFIX)).decode()
    except (binascii.Error, ValueError):
        return None


def mark(text: str) -> str:
    """A short text that stands for a longer one which is sent beside it."""
    return urlsafe_b64encode(blake2b(text.encode("utf-8", "replace"), digest_size=24).digest()).decode()
