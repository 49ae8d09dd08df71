"""The keys in the database, and what a gateway that runs sees of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.auth import key_cache as keyring
from app.auth.key_cache import Keyring
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, digest, from_setting
from app.errors import ConfigError, RecordsError
from app.records.database import FILE_NAME, Database
from app.records.ledger import ColdStart, Ledger
from app.records.schema import VERSION
from tests.support.records import execute

A = ApiKey("a", digest("secret-a"), ("x/*", "y"), True, 1, 2, 3, 10.0, 20.0)
B = ApiKey("b", digest("secret-b"), created=11.0)


def ring(folder: Path, given: str = "", **more: Any) -> Keyring:
    return Keyring(
        KeyStore(Database(folder)), from_setting(given), **{"open_to_all": False, "clock": lambda: 15.0} | more
    )


def write_a_figure(folder: Path) -> None:
    with Database(folder) as database:
        Ledger(database).record_start("k", ColdStart(1e10, "none"))


def test_a_key_outlives_the_process_as_it_was_made(tmp_path: Path) -> None:
    """Every field of it; the folder is made for it."""
    store = KeyStore(Database(tmp_path / "new"))
    store.add(A)
    store.add(B)
    assert KeyStore(Database(tmp_path / "new")).all() == (A, B)


def test_no_secret_reaches_the_disk(tmp_path: Path) -> None:
    """Neither the database nor its log."""
    KeyStore(Database(tmp_path)).add(B)
    assert not any(b"secret-b" in path.read_bytes() for path in tmp_path.iterdir())


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """Nor does a ledger without keys have any."""
    assert KeyStore(Database(tmp_path / "state")).all() == ()
    assert list(tmp_path.iterdir()) == []
    write_a_figure(tmp_path)
    assert KeyStore(Database(tmp_path)).all() == ()


def test_a_name_is_given_once(tmp_path: Path) -> None:
    """Until its key is revoked."""
    store = KeyStore(Database(tmp_path))
    store.add(B)
    with pytest.raises(ConfigError, match="A key named b exists"):
        store.add(B)
    store.revoke("b", 12.0)
    with pytest.raises(ConfigError, match="no key named b"):
        store.revoke("b", 12.0)
    store.add(B)
    assert store.all() == (B,)


def test_what_another_process_changes_counts_without_a_restart(tmp_path: Path) -> None:
    """Also where the database did not exist yet, or is another file now."""
    running, elsewhere = ring(tmp_path), KeyStore(Database(tmp_path))
    running.refresh()
    assert not running.required
    elsewhere.add(B)
    running.refresh()
    assert running.required and running.find(b"secret-b") == B
    elsewhere.revoke("b", 12.0)
    running.refresh()
    assert running.find(b"secret-b") is None
    for path in tmp_path.iterdir():
        path.unlink()
    elsewhere.add(A)
    running.refresh()
    assert running.find(b"secret-a") == A
    running._store.close()


def test_nothing_is_read_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at twice a second for ever."""
    KeyStore(Database(tmp_path)).add(B)
    store = KeyStore(Database(tmp_path))
    assert [store.changed() for _ in range(3)] == [True, False, False]
    write_a_figure(tmp_path)
    assert [store.changed() for _ in range(2)] == [True, False]
    store.close()


def test_the_last_keys_end_does_not_open_the_door(tmp_path: Path) -> None:
    """Neither revoked nor expired keys make a gateway that had keys one without, restarts included."""
    KeyStore(Database(tmp_path)).add(B)
    KeyStore(Database(tmp_path)).revoke("b", 12.0)
    assert ring(tmp_path).required and not ring(tmp_path).usable
    KeyStore(Database(tmp_path)).add(A)
    assert ring(tmp_path).usable
    late = ring(tmp_path, clock=lambda: 20.0)
    assert late.required and not late.usable


def test_keys_of_the_settings_hold_beside_the_others(tmp_path: Path) -> None:
    """And alone; who opens the gateway to all asks for none."""
    running = ring(tmp_path, "from-the-environment")
    found = running.find(b"from-the-environment")
    assert running.required and found is not None and found.name == "env-1"
    assert not ring(tmp_path, "from-the-environment", open_to_all=True).required


@pytest.mark.parametrize("content", [b"no database, whatever its name says", b"SQLite format 3\0" + b"\xff" * 200])
def test_a_database_that_cannot_be_read_lets_nobody_in(content: bytes, tmp_path: Path) -> None:
    """A start is refused; a gateway that runs goes by what it knew."""
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        ring(tmp_path)


def test_a_table_that_cannot_be_read_later_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that were known hold, and the log says so."""
    KeyStore(Database(tmp_path)).add(B)
    running, said = ring(tmp_path), []
    monkeypatch.setattr(keyring.log, "error", lambda event, **_: said.append(event), raising=False)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute("ALTER TABLE access_key RENAME COLUMN digest TO other")
    running.refresh()
    assert running.find(b"secret-b") == B and len(said) == 1
    running._store.close()


def set_version(folder: Path, version: int) -> None:
    execute(folder, f"PRAGMA user_version = {version}")


def test_keys_of_a_later_version_refuse_the_start(tmp_path: Path) -> None:
    """By name; what they may do this build cannot know."""
    KeyStore(Database(tmp_path)).add(B)
    set_version(tmp_path, VERSION + 1)
    with pytest.raises(ConfigError, match=f"cannot be read: .*{FILE_NAME}: it has version {VERSION + 1}.*Update"):
        ring(tmp_path)
    with pytest.raises(ConfigError, match="The key was not created"):
        KeyStore(Database(tmp_path)).add(A)
    with pytest.raises(ConfigError, match="The key was not revoked"):
        KeyStore(Database(tmp_path)).revoke("b", 12.0)


def test_a_later_version_without_keys_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """Where that is certain: its table is there, and is empty. A key that it makes later closes the door."""
    write_a_figure(tmp_path)
    set_version(tmp_path, VERSION + 1)
    told: list[str] = []
    running = Keyring(KeyStore(Database(tmp_path, report=told.append)), (), open_to_all=False)
    assert not running.required and len(told) == 1 and "Update llama-tandem" in told[0]
    set_version(tmp_path, VERSION)
    KeyStore(Database(tmp_path)).add(B)
    set_version(tmp_path, VERSION + 1)
    running.refresh()
    assert running.required and running.find(b"secret-b") is None
    running._store.close()


def test_a_later_version_without_our_table_is_not_taken_for_one_without_keys(tmp_path: Path) -> None:
    """It may have them elsewhere."""
    write_a_figure(tmp_path)
    execute(tmp_path, "DROP TABLE access_key", f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(ConfigError, match="cannot be read"):
        ring(tmp_path)


def test_a_database_without_the_table_of_keys_lets_nobody_in(tmp_path: Path) -> None:
    """In a file from before there were versions it means that nobody ever made one; in others it is damage."""
    write_a_figure(tmp_path)
    execute(tmp_path, "DROP TABLE access_key")
    with pytest.raises(ConfigError, match="it is missing"):
        ring(tmp_path)
    set_version(tmp_path, 0)
    assert not ring(tmp_path).required


def test_a_file_that_goes_does_not_open_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does an empty one in its place; the log says so once."""
    KeyStore(Database(tmp_path)).add(B)
    running, said = ring(tmp_path), []
    monkeypatch.setattr(keyring.log, "error", lambda event, **_: said.append(event), raising=False)
    running.refresh()
    for path in tmp_path.iterdir():
        path.rename(tmp_path.parent / path.name)
    for _ in range(2):
        running.refresh()
        assert running.required and running.find(b"secret-b") == B
    write_a_figure(tmp_path)
    running.refresh()
    assert running.required and running.find(b"secret-b") == B and len(said) == 1
    running._store.close()


def test_what_could_not_be_read_is_read_at_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing has changed since: otherwise a revoked key would go on until the next one is made."""
    KeyStore(Database(tmp_path)).add(B)
    running = ring(tmp_path)
    running.refresh()
    KeyStore(Database(tmp_path)).revoke("b", 12.0)
    monkeypatch.setattr(keyring.log, "error", lambda event, **_: None, raising=False)
    with monkeypatch.context() as broken:
        broken.setattr(Database, "read", _fails)
        running.refresh()
    assert running.find(b"secret-b") == B
    running.refresh()
    assert running.find(b"secret-b") is None
    running._store.close()


def _fails(*_: Any) -> Any:
    raise RecordsError("cannot read it: the disk fails.")
