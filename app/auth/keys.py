"""API keys as values: creation, hash, comparison, and the models that a key may use.

A key is 256 random bits, so one round of SHA-256 protects it. A slow hash protects only what can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from app.errors import ConfigError
from app.units import seconds_of

PREFIX = "lt-"
EVERYTHING = ("*",)
# Shorter keys can be guessed. Created keys have 46 characters.
FEWEST_CHARACTERS = 8
# A unit is required, since a user who writes 90 means days.
_LIFETIME = re.compile(r"(\d{1,6}\s*[smhdwy]\s*)+\Z")
_NAME = re.compile(r"[\w.@-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The properties of a key, without the key itself.

    Times are in seconds since the epoch. A limit of None is no limit.
    """

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
        """Whether the key may use every model, present and future."""
        return "*" in self.models

    def may(self, name: str) -> bool:
        """Tells whether the key may use a model name. `*` in its patterns crosses slashes."""
        return any(fnmatchcase(name, pattern) for pattern in self.models)


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def new_key(
    secret: str, name: str, limits: Mapping[str, int | None], *, models: str | None, expires: str, admin: bool = False
) -> ApiKey:
    """Makes a key from the texts of a user. `limits` are `rpm`, `tpm` and `concurrency`. Raises ConfigError."""
    now, seconds = time.time(), lifetime(expires)
    return ApiKey(
        check_name(name),
        digest(secret),
        EVERYTHING if models is None else patterns(models),
        admin,
        created=now,
        expires=None if seconds is None else now + seconds,
        **limits,
    )


def digest(secret: bytes | str) -> bytes:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()


def find(keys: Iterable[ApiKey], secret: bytes, now: float) -> ApiKey | None:
    """Returns the valid key that matches. Compares all keys, so the time reveals nothing."""
    presented, match = digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, presented) and key.valid(now):
            match = key
    return match


def check_name(name: str) -> str:
    """Checks a key's name. Raises ConfigError."""
    if not _NAME.match(name):
        raise ConfigError([f"--name: {name!r} must be up to 64 letters, digits, or one of . _ - @"])
    return name


def patterns(text: str) -> tuple[str, ...]:
    """Parses `a/*, b` to its patterns. Raises ConfigError if there are none."""
    patterns = tuple(part for part in (part.strip() for part in text.split(",")) if part)
    if not patterns:
        raise ConfigError(['--models: name at least one, such as "unsloth/*"; "*" is all of them'])
    return patterns


def lifetime(text: str) -> float | None:
    """Parses `90d` to seconds and `never` to None. Raises ConfigError."""
    if text == "never":
        return None
    with suppress(ValueError):
        if _LIFETIME.match(text) and (seconds := seconds_of(text)):
            return seconds
    raise ConfigError([f"--expires: {text!r} must be a time from now such as 90d, 12h, 1d12h, 8w or 1y, or never"])


def from_setting(text: str) -> tuple[ApiKey, ...]:
    """Returns the keys of `api_keys`, named `env-1`, `env-2` ... Raises ValueError without revealing a key."""
    secrets = [part.strip() for part in text.split(",")] if text.strip() else []
    for number, secret in enumerate(secrets, 1):
        if len(secret) < FEWEST_CHARACTERS or not secret.isascii() or any(c.isspace() for c in secret):
            raise ValueError(
                f"key {number} of {len(secrets)} must be at least {FEWEST_CHARACTERS} ASCII characters without spaces"
            )
    return tuple(ApiKey(f"env-{number}", digest(secret)) for number, secret in enumerate(secrets, 1))
