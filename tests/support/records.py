"""Records as other processes leave them, and a writer whose turns a test takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.records.database import FILE_NAME, Database
from app.records.ledger import Ledger
from app.records.usage import UsageSums, add_usage
from app.records.writer import Writer


@contextmanager
def ledger_in(folder: Path) -> Iterator[Ledger]:
    """All that is recorded is in the file behind the block; the ledger can go on reading."""
    with Database(folder) as database:
        yield Ledger(database)


def write_usage(folder: Path, rows: Mapping[Any, UsageSums], now: float) -> None:
    """`now` is in seconds since the epoch."""
    with Database(folder) as database:
        database.write("usage", lambda connection: add_usage(connection, rows, now))


def execute(folder: Path, *statements: str) -> list[Any]:
    """With a connection of its own; the rows of the last statement."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


@contextmanager
def write_lock(folder: Path) -> Iterator[None]:
    """Held by a connection that is not ours."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class HandClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def without_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written but by `writer.turn()`, and nothing waits for a lock."""
    monkeypatch.setattr(Writer, "_start", lambda self: None)
    monkeypatch.setattr("app.records.database._LOCK_PATIENCE_S", 0.0)
    monkeypatch.setattr("app.records.database.READ_PATIENCE_S", 0.0)
