"""Runs reloads in the background: after SIGHUP, or after changes of the files."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from app.config.source import SettingsSource
from app.errors import ReloadRefusedError
from app.main import Gateway
from app.server.watch import FileWatch


class Reloads:
    """Starts reloads inside the running loop and logs them. `source` knows the files to watch."""

    def __init__(self, gateway: Gateway, source: SettingsSource | None) -> None:
        self._reloader = gateway.reloader
        self._watch = FileWatch(source.files, self.begin) if source is not None else None
        if self._watch is not None:
            self._watch.follow(gateway.settings)
            gateway.followers.append(self._watch.follow)
        # The loop keeps only weak references to tasks
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, cause: str) -> None:
        """Starts a reload. `cause` goes to the log."""
        reload = asyncio.create_task(self._reload(cause))
        self._running.add(reload)
        reload.add_done_callback(self._running.discard)

    async def _reload(self, cause: str) -> None:
        with suppress(ReloadRefusedError):  # The reload has logged it
            await self._reloader.reload(cause)

    async def close(self) -> None:
        """Cancels running reloads."""
        if self._watch is not None:
            await self._watch.close()
        for reload in self._running:
            reload.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
