"""What finished requests took, on its way to the ledger: kept in memory, written once a second in a thread.

A request costs an append. The last second is lost with a gateway that is killed, nothing with one that is stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from app import logs
from app.errors import TandemError
from app.records.batch_writer import Batches
from app.records.ledger import Ledger, Measurement
from app.records.metrics import Finished

log = logs.get_logger("ledger")

# More than a second of traffic ever holds; beyond it a slow disk costs figures and not memory.
KEPT_REQUESTS = 10_000
# With one token there is no time between tokens.
FEWEST_TOKENS = 2

_Kept = tuple[asyncio.Task[str | None], Finished, float]


class Recorder:
    """Measurements of the engines that we start: good answers of at least two tokens.

    `key` says under what the measurements of an alias are comparable (see `speculation.identity`); it blocks and may
    raise TandemError or OSError. `base` gives the alias that a variant belongs to.
    """

    def __init__(self, ledger: Ledger, *, key: Callable[[str], str], base: Callable[[str], str]) -> None:
        self._ledger = ledger
        self._key_of = key
        self._base = base
        # By alias or variant, of its latest start
        self._keys: dict[str, asyncio.Task[str | None]] = {}
        self._kept: list[_Kept] = []
        self._lost = 0
        self._batches = Batches(self._write, lambda: bool(self._kept))

    def starting(self, alias: str) -> None:
        """An engine of `alias` starts: its key is worked out while it loads."""
        self._keys[alias] = asyncio.create_task(self._key(alias))

    def add(self, request: Finished) -> None:
        key = self._keys.get(request.alias)
        if key is None or not _measured(request):
            return
        if len(self._kept) >= KEPT_REQUESTS:
            self._lost += 1
            return
        self._kept.append((key, request, time.time()))
        self._batches.due()

    async def close(self) -> None:
        """Writes what is left."""
        await self._batches.close()

    async def _write(self) -> None:
        kept, self._kept = self._kept, []
        lost, self._lost = self._lost, 0
        if lost:
            log.warning("the ledger is too slow: requests were not recorded", requests=lost)
        keyed = [(key, request, at) for task, request, at in kept if (key := await task) is not None]
        if keyed:
            await asyncio.to_thread(self._record, keyed)

    def _record(self, keyed: Sequence[tuple[str, Finished, float]]) -> None:
        self._ledger.record_measurements([_row(self._base(r.alias), key, r, at) for key, r, at in keyed])

    async def _key(self, alias: str) -> str | None:
        try:
            return await asyncio.to_thread(self._key_of, alias)
        except (TandemError, OSError) as error:
            # The start fails by the same cause and tells it; here it only means that nothing is recorded.
            log.debug("no key for measurements", alias=alias, error=str(error))
            return None


def _measured(request: Finished) -> bool:
    return (
        request.status == 200
        and request.mode is not None
        and request.completion_tokens is not None
        and request.completion_tokens >= FEWEST_TOKENS
    )


def _row(alias: str, key: str, request: Finished, at: float) -> Measurement:
    assert request.mode is not None and request.completion_tokens is not None
    return Measurement(
        alias=alias,
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
