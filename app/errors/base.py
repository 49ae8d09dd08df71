"""The root of all exceptions of ours."""

from __future__ import annotations

import re


class TandemError(Exception):
    """The base class. Its text can be shown to a user."""

    def __init__(self, message: str) -> None:
        # A file name may contain invalid UTF-8 as lone surrogates, which JSON and the database reject.
        super().__init__(message.encode("utf-8", "replace").decode())


def reason_of(error: Exception) -> str:
    """Returns an error's text without its number, or its kind if it has no text."""
    return re.sub(r"\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
