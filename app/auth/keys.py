"""API keys as values: made, hashed, compared, and what each may use.

A key is 256 random bits, so one round of SHA-256 hides it: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from app.errors import ConfigError
from app.units import seconds_of

PREFIX = "lt-"
EVERYTHING = ("*",)
# Shorter ones can be guessed; those that we make have 46 characters.
FEWEST_CHARACTERS = 8
# Whole, and never a bare number: somebody who writes 90 means days.
_LIFETIME = re.compile(r"(\d{1,6}\s*[smhdwy]\s*)+\Z")
_NAME = re.compile(r"[\w.@-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key: never the key itself. Times in seconds since the epoch; a limit of None is none."""

    name: str
    digest: bytes
    models: tuple[str, ...] = EVERYTHING
    admin: bool = False
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    created: float = 0.0
    expires: float | None = None
    revoked: float | None = None

    def valid(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    @property
    def unrestricted(self) -> bool:
        """May use whatever there is, now and later."""
        return "*" in self.models

    def may(self, name: str) -> bool:
        """Whether a name of a model is among those that this key may use; `*` crosses slashes."""
        return any(fnmatchcase(name, pattern) for pattern in self.models)


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: bytes | str) -> bytes:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()


def find(keys: Iterable[Key], secret: bytes, now: float) -> Key | None:
    """The valid key that was presented. Every one is compared: the time says nothing of which, or whether."""
    presented, match = digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, presented) and key.valid(now):
            match = key
    return match


def check_name(name: str) -> str:
    """Raises ConfigError."""
    if not _NAME.match(name):
        raise ConfigError([f"--name: {name!r} must be up to 64 letters, digits, or one of . _ - @"])
    return name


def patterns(text: str) -> tuple[str, ...]:
    """`a/*, b` -> its patterns; raises ConfigError where there is none."""
    patterns = tuple(part for part in (part.strip() for part in text.split(",")) if part)
    if not patterns:
        raise ConfigError(['--models: name at least one, such as "unsloth/*"; "*" is all of them'])
    return patterns


def lifetime(text: str) -> float | None:
    """`90d` -> seconds, `never` -> None; raises ConfigError."""
    if text == "never":
        return None
    with suppress(ValueError):
        if _LIFETIME.match(text) and (seconds := seconds_of(text)):
            return seconds
    raise ConfigError([f"--expires: {text!r} must be a time from now such as 90d, 12h, 1d12h, 8w or 1y, or never"])


def from_setting(text: str) -> tuple[Key, ...]:
    """The keys of `api_keys`, named `env-1`, `env-2` ...; raises ValueError without showing any of them."""
    secrets = [part.strip() for part in text.split(",")] if text.strip() else []
    for number, secret in enumerate(secrets, 1):
        if len(secret) < FEWEST_CHARACTERS or not secret.isascii() or any(c.isspace() for c in secret):
            raise ValueError(
                f"key {number} of {len(secrets)} must be at least {FEWEST_CHARACTERS} ASCII characters without spaces"
            )
    return tuple(Key(f"env-{number}", digest(secret)) for number, secret in enumerate(secrets, 1))
