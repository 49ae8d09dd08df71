"""Keys in use by a running gateway: those of the settings and those of the database, refreshed every 0.5 s."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from app import logs
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, find
from app.errors import UnreadableKeysError

log = logs.get_logger("access")

# Seconds until a created or revoked key takes effect.
LOOK_EVERY_S = 0.5


class Keyring:
    """`required` is the only cost of a request while there are no keys.

    Raises ConfigError at the start if the database exists and cannot be read, since its keys are then unknown. Later it
    keeps the last known keys and tries again. Once a key is required it stays so while the gateway runs.
    """

    def __init__(
        self,
        store: KeyStore,
        configured: tuple[ApiKey, ...],
        *,
        open_to_all: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._configured = configured
        self._open_to_all = open_to_all
        self._clock = clock
        self._local: tuple[ApiKey, ...] = ()
        self._watching: asyncio.Task[None] | None = None
        # Whether the database may be newer than the last read, which the log has reported
        self._stale = False
        self._rows = 0
        # Whether a later version has written the database, maybe with a first key
        self._newer = False
        self.required = False
        self._take(store.all())

    def configure(self, configured: tuple[ApiKey, ...], *, open_to_all: bool) -> None:
        """Applies the keys of new settings. The keys of the database stay, and the requirement too."""
        self.required = self.would_require(configured, open_to_all=open_to_all)
        self._configured, self._open_to_all = configured, open_to_all
        self.known = configured + self._stored

    def would_require(self, configured: tuple[ApiKey, ...], *, open_to_all: bool) -> bool:
        """Tells whether requests would need a key with these keys in the settings."""
        return not open_to_all and bool(configured or self._rows or self._newer)

    def _take(self, rows: tuple[ApiKey, ...]) -> None:
        self._stored = tuple(key for key in rows if key.revoked is None)
        self._rows = len(rows)
        self.known = self._configured + self._stored
        # Revoked and expired keys count: the gateway must not open when its last key ends.
        self._require(bool(self._configured or rows))

    def _require(self, needed: bool) -> None:
        self.required = self.required or (needed and not self._open_to_all)

    @property
    def usable(self) -> bool:
        """Whether any key is valid now."""
        now = self._clock()
        return any(key.valid(now) for key in self.known)

    def valid(self) -> tuple[ApiKey, ...]:
        """Returns all valid keys."""
        now = self._clock()
        return tuple(key for key in (*self.known, *self._local) if key.valid(now))

    def add_local(self, key: ApiKey) -> None:
        """Adds the key of the local command line. It does not make keys required."""
        self._local = (key,)

    def is_local(self, key: ApiKey) -> bool:
        """Tells whether a key is that of the local command line."""
        return key in self._local

    def find(self, secret: bytes) -> ApiKey | None:
        return find(self.known + self._local, secret, self._clock())

    # -- changes -----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Starts the refresh. Call it inside the running loop."""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(LOOK_EVERY_S)

    def refresh(self) -> None:
        """Reads the database. Blocks, so call it in a thread."""
        if not (self._store.changed() or self._stale):
            return
        try:
            rows = self._store.all()
        except UnreadableKeysError as error:
            # A later version may have created a first key, in a table that this build does not know.
            self._newer = self._newer or error.newer
            self._require(error.newer)
            self._keep(str(error))
            return
        if self._rows and not rows:
            # Rows are never deleted, so the file was removed or replaced.
            self._keep("The database has no keys any more. Restore it, or restart the gateway to start without keys.")
            return
        self._stale = self._newer = False
        self._take(rows)

    def _keep(self, why: str) -> None:
        """Keeps the last known keys. Logs it once and tries again at every refresh."""
        if not self._stale:
            log.error("cannot read the keys; the last known ones stay valid", error=why)
        self._stale = True

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._store.close()
