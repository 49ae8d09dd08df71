"""The keys that a running gateway goes by: those of the settings and those of the database, as of half a second ago."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from app import logs
from app.auth.key_store import KeyStore
from app.auth.keys import Key, find
from app.errors import ConfigError

log = logs.get_logger("access")

# A key that was made or revoked counts within this.
LOOK_EVERY_S = 0.5


class Keyring:
    """`required` is all that a request costs where there are no keys.

    Raises ConfigError at once where the database is there and cannot be read: without it nobody knows who may come in.
    Later it goes by what it read last.
    """

    def __init__(
        self, store: KeyStore, given: tuple[Key, ...], *, open_to_all: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._given = given
        self._open_to_all = open_to_all
        self._clock = clock
        self._local: tuple[Key, ...] = ()
        self._watching: asyncio.Task[None] | None = None
        self._take(store.all())

    def _take(self, stored: tuple[Key, ...]) -> None:
        self._stored = tuple(key for key in stored if key.revoked is None)
        self.known = self._given + self._stored
        # Revoked and expired ones count: the last key's end must not open the door.
        self.required = bool(self._given or stored) and not self._open_to_all

    @property
    def usable(self) -> bool:
        """Whether anybody holds a key that is valid now."""
        now = self._clock()
        return any(key.valid(now) for key in self.known)

    def add_local(self, key: Key) -> None:
        """The key of this machine's own command line; it makes nobody else need one."""
        self._local = (key,)

    def find(self, secret: bytes) -> Key | None:
        return find(self.known + self._local, secret, self._clock())

    # -- changes -----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Inside the running loop."""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(LOOK_EVERY_S)

    def refresh(self) -> None:
        """Blocks; for a thread."""
        if self._store.changed():
            try:
                self._take(self._store.all())
            except ConfigError as error:
                log.error("keys could not be read; the last ones known hold", error=str(error))

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._store.close()
