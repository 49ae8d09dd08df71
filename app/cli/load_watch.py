"""`load` with progress: the gateway answers when the engine is up, and reports meanwhile."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Any

from app.cli.admin_client import AdminClient
from app.cli.engines_table import loading_words
from app.errors import UpstreamError

# Seconds between updates of the progress line
_EVERY_S = 1.0


def watch_load(client: AdminClient, alias: str) -> dict[str, Any]:
    """Returns the engine once it is up. Raises UpstreamError with the diagnosis of a failed start."""
    ended = threading.Event()
    if sys.stderr.isatty():
        threading.Thread(target=_tell, args=(client, alias, ended), daemon=True).start()
    try:
        return client.act(alias, "load", wait=1)
    finally:
        ended.set()


def _tell(client: AdminClient, alias: str, ended: threading.Event) -> None:
    """Prints one line on the terminal, overwritten until the load ends."""
    while not ended.wait(_EVERY_S):
        with suppress(UpstreamError):
            engine = next((engine for engine in client.engines() if engine["alias"] == alias), None)
            if engine is not None and not ended.is_set():
                words = loading_words(engine) or "waiting for a place"
                print(f"\r\033[K{engine['state']}: {words}", end="", file=sys.stderr, flush=True)
    print("\r\033[K", end="", file=sys.stderr, flush=True)
