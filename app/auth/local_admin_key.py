"""The admin key of this machine: a file that only the gateway's own user can read, for that user's command line."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from app.auth.keys import Key, digest, new_secret

FILE_NAME = "admin.key"


def local_secret(state_dir: Path) -> str | None:
    """None where there is no such file, or where others could have read or written it."""
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
    """That of an earlier start, or of another gateway with the same folder, else a new one; raises OSError."""
    if (secret := local_secret(state_dir)) is not None:
        return secret
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / FILE_NAME
    whole = state_dir / f".{FILE_NAME}-{os.getpid()}"
    for stale in (path, whole):  # left behind half-written, or readable for others
        stale.unlink(missing_ok=True)
    secret = new_secret()
    with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as content:
        content.write(secret + "\n")
    try:
        # Unlike a rename it leaves the file of a gateway that was faster.
        with suppress(FileExistsError):
            os.link(whole, path)
    finally:
        whole.unlink()
    return local_secret(state_dir) or secret


def local_key(secret: str) -> Key:
    return Key("local", digest(secret), admin=True)
