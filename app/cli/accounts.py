"""The work of `keys` and `usage`, in the ledger's database. A running gateway sees changes within a second."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, new_key, new_secret
from app.cli.options import records
from app.config.settings import Settings
from app.errors import ConfigError
from app.models.catalog import Catalog
from app.records.usage import COLUMNS, UsageStore
from app.terminal import console, table

_NO_KEYS = 'There are no keys. Run "llama-tandem keys create --name NAME". After that, every request needs a key.'
_NONE_LEFT = (
    'Every client is refused: no key is left. Run "llama-tandem keys create --name NAME", or open the gateway with '
    '"llama-tandem serve --no-auth" (no_auth: on).'
)
_NONE_VALID = (
    'Every client is refused: no key is valid any more. Run "llama-tandem keys create --name NAME", or open the '
    'gateway with "llama-tandem serve --no-auth" (no_auth: on).'
)


def create(
    settings: Settings,
    name: str,
    *,
    models: str | None = None,
    expires: str = "never",
    admin: bool = False,
    **limits: int | None,
) -> tuple[str, list[str]]:
    """Creates a key. Returns the secret, which is not stored, and notes for the user. Raises ConfigError."""
    secret = new_secret()
    key = new_key(secret, name, limits, models=models, expires=expires, admin=admin)
    with records(settings) as database:
        store = KeyStore(database)
        first = not store.all()
        store.add(key)
    notes = [f"This is the key of {name}. It is shown only once, since only its hash is stored."]
    if first and not settings.api_keys.get_secret_value() and not settings.no_auth:
        notes.append("This is the first key: from now on, every request needs a key.")
    if not Catalog(settings).refs(key.may, presets=True):
        notes.append(f"No configured model matches {', '.join(key.models)}.")
    return secret, notes


def revoke(settings: Settings, name: str) -> str:
    """Revokes a key. Returns a note for the user, or an empty text. Raises ConfigError."""
    with records(settings) as database:
        store = KeyStore(database)
        store.revoke(name, time.time())
        return locked_out_note(settings, store.all(), time.time())


def locked_out_note(settings: Settings, keys: Sequence[ApiKey], now: float) -> str:
    """Returns a warning if no client has a valid key but needs one, else an empty text."""
    needed = not settings.no_auth and keys and not settings.api_keys.get_secret_value()
    if not needed or any(key.valid(now) for key in keys):
        return ""
    return _NONE_VALID if any(key.revoked is None for key in keys) else _NONE_LEFT


def show_keys(settings: Settings) -> None:
    """Prints a table of the keys that are not revoked, or who has access without keys."""
    every, now = KeyStore(records(settings)).all(), time.time()
    keys = [key for key in every if key.revoked is None]
    if keys:
        console().print(_table(keys, now))
    if words := locked_out_note(settings, every, now) or ("" if keys else _without_keys(settings, every)):
        console().print(words, soft_wrap=True)


def _without_keys(settings: Settings, every: Sequence[ApiKey]) -> str:
    if settings.no_auth:
        return "There are no keys, and none is required: no_auth is on."
    if settings.api_keys.get_secret_value():
        return "The only keys are those of TANDEM_API_KEYS (api_keys)."
    return _NO_KEYS


def _table(keys: Sequence[ApiKey], now: float) -> Table:
    columns = ("name", "models", "admin", "rpm", "tpm", "concurrency", "created", "expires")
    shown = table(*columns, left=columns)
    for key in keys:
        limits = ("-" if limit is None else str(limit) for limit in (key.rpm, key.tpm, key.concurrency))
        end = "never" if key.expires is None else _day(key.expires) + ("" if key.valid(now) else " (over)")
        shown.add_row(key.name, ", ".join(key.models), "yes" if key.admin else "", *limits, _day(key.created), end)
    return shown


def usage_rows(settings: Settings, by: str) -> list[dict[str, Any]]:
    """Returns rows of sums, by key, alias and day, comma-separated in `by`. Raises ConfigError or RecordsError."""
    columns = [part.strip() for part in by.split(",")]
    if len(set(columns)) < len(columns) or not set(columns) <= set(COLUMNS):
        raise ConfigError([f"--by: {by!r} must be one or more of {', '.join(COLUMNS)}, such as key,day"])
    return UsageStore(records(settings)).read(columns)


def show_usage(rows: Sequence[dict[str, Any]]) -> None:
    """Prints a table. `-` stands for requests that needed no key."""
    if not rows:
        print("Nothing has been used yet.")
        return
    shown = table(*(column.replace("_", " ") for column in rows[0]), left=COLUMNS)
    for row in rows:
        shown.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) or "-" for value in row.values()))
    console().print(shown)


def usage_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Returns CSV with a header line, or an empty text without rows."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
