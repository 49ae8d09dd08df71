"""Collects measurements of finished requests in memory until the database's thread writes them.

A request costs an append. A killed gateway loses the last second, a stopped one nothing.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from app import logs
from app.errors import TandemError
from app.records.database import Database
from app.records.ledger import Measurement, insert_measurements
from app.records.metrics import Finished
from app.records.writer import Work

log = logs.get_logger("ledger")

# More than a second of traffic. Beyond it a slow disk costs the oldest figures instead of memory.
KEPT_REQUESTS = 10_000
# One token has no time between tokens.
FEWEST_TOKENS = 2

# The key of one start of an engine, or None if unknown
_Key = Future[str | None]
_Waiting = tuple[_Key, Finished, float]


class Recorder:
    """Records successful answers of at least two tokens, from our own engines.

    They are comparable under a key (see `speculation.measurement_key`), which each start of an engine provides.
    """

    table = "measurement"

    def __init__(self, database: Database) -> None:
        self._database = database
        # By alias or variant, of its latest start
        self._keys: dict[str, _Key] = {}
        self._finding: set[asyncio.Task[None]] = set()
        # The loop adds, the database's thread takes.
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._lost = 0
        database.add_source(self)

    def starting(self, alias: str, key_of: Callable[[], str]) -> None:
        """Notes the start of an engine. Computes its key while it loads.

        `key_of` blocks and may raise TandemError or OSError.
        """
        self.starting_elsewhere(alias, asyncio.to_thread(key_of))

    def starting_elsewhere(self, alias: str, key_of: Coroutine[Any, Any, str]) -> None:
        """As `starting`, for an engine on another machine, which computes its key."""
        key = self._keys[alias] = _Key()
        finding = asyncio.create_task(self._find_key(alias, key_of, key))
        self._finding.add(finding)
        finding.add_done_callback(self._finding.discard)

    def add(self, request: Finished) -> None:
        key = self._keys.get(request.alias)
        if key is None or not _measured(request):
            return
        with self._lock:
            self._waiting.append((key, request, time.time()))
            if len(self._waiting) > KEPT_REQUESTS:
                del self._waiting[0]
                self._lost += 1
        self._database.due()

    def take(self) -> Work | None:
        """Takes the rows whose key is known. The others stay."""
        early: list[_Waiting] = []
        known: list[tuple[str | None, Finished, float]] = []
        with self._lock:
            for key, request, at in self._waiting:
                if key.done():
                    known.append((key.result(), request, at))
                else:
                    early.append((key, request, at))
            self._waiting = early
            lost, self._lost = self._lost, 0
        if lost:
            log.warning("the ledger is too slow: requests were not recorded", requests=lost)
        rows = [_row(key, request, at) for key, request, at in known if key is not None]
        return (lambda connection: insert_measurements(connection, rows)) if rows else None

    async def close(self) -> None:
        """Computes the missing keys. The database writes their rows when it closes."""
        await asyncio.gather(*self._finding)

    async def _find_key(self, alias: str, key_of: Coroutine[Any, Any, str], key: _Key) -> None:
        measurement_key = None
        try:
            measurement_key = await key_of
        except (TandemError, OSError) as error:
            # The start fails with the same error and reports it. Here nothing is recorded.
            log.debug("no key for measurements", alias=alias, error=str(error))
        finally:
            key.set_result(measurement_key)
            self._database.due()


def _measured(request: Finished) -> bool:
    return (
        request.status == 200
        and request.mode is not None
        and request.completion_tokens is not None
        and request.completion_tokens >= FEWEST_TOKENS
    )


def _row(key: str, request: Finished, at: float) -> Measurement:
    assert request.mode is not None and request.completion_tokens is not None
    return Measurement(
        alias=request.entry,
        key=key,
        mode=request.mode,
        at=at,
        in_flight=request.in_flight or 1,
        ttft=request.first_token,
        tpot=request.tpot,
        seconds=request.duration,
        tokens=request.completion_tokens,
        drafted=request.drafted or None,
        accepted=request.accepted if request.drafted else None,
    )
