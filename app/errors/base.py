"""The root of all exceptions of ours."""

from __future__ import annotations


class TandemError(Exception):
    """The base class. Its text can be shown to a user."""

    def __init__(self, message: str) -> None:
        # A file name may contain invalid UTF-8 as lone surrogates, which JSON and the database reject.
        super().__init__(message.encode("utf-8", "replace").decode())
