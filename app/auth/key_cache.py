"""The keys that a running gateway goes by: those of the settings and those of the database, as of half a second ago."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from app import logs
from app.auth.key_store import KeyStore
from app.auth.keys import Key, find
from app.errors import UnreadableKeysError

log = logs.get_logger("access")

# A key that was made or revoked counts within this.
LOOK_EVERY_S = 0.5


class Keyring:
    """`required` is all that a request costs where there are no keys.

    Raises ConfigError at once where the database is there and cannot be read: without it nobody knows who may come in.
    Later it goes by what it read last, and tries again until it can read. While it runs nothing opens it: once a key is
    needed, one is.
    """

    def __init__(
        self, store: KeyStore, configured: tuple[Key, ...], *, open_to_all: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._configured = configured
        self._open_to_all = open_to_all
        self._clock = clock
        self._local: tuple[Key, ...] = ()
        self._watching: asyncio.Task[None] | None = None
        # Whether what was read last may be older than the database, and the log has said so
        self._stale = False
        self._rows = 0
        # Whether a later version has written it, which may have made a first key
        self._newer = False
        self.required = False
        self._take(store.all())

    def configure(self, configured: tuple[Key, ...], *, open_to_all: bool) -> None:
        """The keys of the settings are these from now on; those of the database stay, and what they require."""
        self.required = self.would_require(configured, open_to_all=open_to_all)
        self._configured, self._open_to_all = configured, open_to_all
        self.known = configured + self._stored

    def would_require(self, configured: tuple[Key, ...], *, open_to_all: bool) -> bool:
        """Whether a request would need a key with these in the settings."""
        return not open_to_all and bool(configured or self._rows or self._newer)

    def _take(self, rows: tuple[Key, ...]) -> None:
        self._stored = tuple(key for key in rows if key.revoked is None)
        self._rows = len(rows)
        self.known = self._configured + self._stored
        # Revoked and expired ones count: the last key's end must not open the door.
        self._require(bool(self._configured or rows))

    def _require(self, needed: bool) -> None:
        self.required = self.required or (needed and not self._open_to_all)

    @property
    def usable(self) -> bool:
        """Whether anybody holds a key that is valid now."""
        now = self._clock()
        return any(key.valid(now) for key in self.known)

    def valid(self) -> tuple[Key, ...]:
        """All that let somebody in now."""
        now = self._clock()
        return tuple(key for key in (*self.known, *self._local) if key.valid(now))

    def add_local(self, key: Key) -> None:
        """The key of this machine's own command line; it makes nobody else need one."""
        self._local = (key,)

    def is_local(self, key: Key) -> bool:
        """Whether it is that of this machine's own command line."""
        return key in self._local

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
        if not (self._store.changed() or self._stale):
            return
        try:
            rows = self._store.all()
        except UnreadableKeysError as error:
            # A later version may have made the first key, which this build cannot know.
            self._newer = self._newer or error.newer
            self._require(error.newer)
            self._keep(str(error))
            return
        if self._rows and not rows:
            # Rows are never deleted: this is a file that went, or another one.
            self._keep("The database has no keys any more. Bring it back, or restart the gateway to begin anew.")
            return
        self._stale = self._newer = False
        self._take(rows)

    def _keep(self, why: str) -> None:
        """Goes by what was read last; said once, tried again at every look."""
        if not self._stale:
            log.error("keys could not be read; the last ones known hold", error=why)
        self._stale = True

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._store.close()
