"""`watch: on`: reloads when the content of a settings file changes.

It watches folders, since editors and Kubernetes replace files. It compares contents once they have been stable for a
moment, so it never reads half a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from app import logs
from app.config.settings import Settings
from app.errors import ConfigError

log = logs.get_logger("reload")

# Seconds for which contents must be stable.
SETTLED_AFTER_S = 0.3
# Interval of checks for file systems without change events (networks, some containers).
LOOK_EVERY_MS = 5000

Contents = tuple[bytes | None, ...]


class FileWatch:
    """`files` returns the current files. `changed` is called in the event loop with a cause."""

    def __init__(self, files: Callable[[], tuple[Path, ...]], changed: Callable[[str], None]) -> None:
        self._files = files
        self._changed = changed
        self._watching: asyncio.Task[None] | None = None

    def follow(self, settings: Settings) -> None:
        """Starts or stops watching, as the settings say."""
        if settings.watch and self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        elif not settings.watch and self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        from watchfiles import awatch  # Imported on use: 30 ms, and a thread

        seen = await asyncio.to_thread(self._contents)
        while True:
            folders = await asyncio.to_thread(self._folders)
            log.info("watching for changes of the settings", folders=sorted(map(str, folders)))
            try:
                async for _ in awatch(
                    *folders, watch_filter=None, recursive=False, rust_timeout=LOOK_EVERY_MS, yield_on_timeout=True
                ):
                    now = await self._settled()
                    if now != seen:
                        seen = now
                        self._changed("a changed file")
                    if await asyncio.to_thread(self._folders) != folders:
                        break
            except (OSError, RuntimeError) as error:
                log.error("changes of the settings are not watched any more", error=str(error))
                return

    async def _settled(self) -> Contents:
        now = await asyncio.to_thread(self._contents)
        while True:
            await asyncio.sleep(SETTLED_AFTER_S)
            before, now = now, await asyncio.to_thread(self._contents)
            if now == before:
                return now

    def _paths(self) -> tuple[Path, ...]:
        try:
            return self._files()
        except ConfigError:  # The file does not exist at the moment
            return ()

    def _contents(self) -> Contents:
        return tuple(map(_content, self._paths()))

    def _folders(self) -> frozenset[Path]:
        """Returns the folders of the files and of the targets of their links."""
        paths = self._paths()
        folders = {path.parent.absolute() for path in paths} | {path.resolve().parent for path in paths}
        return frozenset(folder for folder in folders if folder.is_dir()) or frozenset({Path.cwd()})


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
