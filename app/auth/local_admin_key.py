"""Keeps this machine's admin key in a file that only the gateway's user can read, for that user's commands."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from app.auth.keys import ApiKey, digest, new_secret

FILE_NAME = "admin.key"


def local_secret(state_dir: Path) -> str | None:
    """Returns the key, or None if there is no file or other users could have accessed it."""
    try:
        file = os.open(state_dir / FILE_NAME, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(file, encoding="ascii", errors="replace") as content:
        about = os.fstat(content.fileno())
        private = stat.S_ISREG(about.st_mode) and not about.st_mode & 0o077 and about.st_uid == os.geteuid()
        secret = content.read(200).strip() if private else ""
    return secret if len(secret) == len(new_secret()) else None


def make_local_secret(state_dir: Path) -> str:
    """Returns the existing key, of an earlier start or another gateway of this folder, or creates one.

    Raises OSError.
    """
    if (secret := local_secret(state_dir)) is not None:
        return secret
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / FILE_NAME
    whole = state_dir / f".{FILE_NAME}-{os.getpid()}"
    for stale in (path, whole):  # Incomplete, or readable for others
        stale.unlink(missing_ok=True)
    secret = new_secret()
    with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as content:
        content.write(secret + "\n")
    try:
        # Unlike a rename, a link keeps the file of a faster gateway.
        with suppress(FileExistsError):
            os.link(whole, path)
    finally:
        whole.unlink()
    return local_secret(state_dir) or secret


def local_key(secret: str) -> ApiKey:
    return ApiKey("local", digest(secret), admin=True)
