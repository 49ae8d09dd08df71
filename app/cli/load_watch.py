"""`load`, watched: the gateway answers when the engine is up, and tells meanwhile how far it is."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import Any

from app.cli.admin_client import AdminClient
from app.cli.engines_table import loading_words
from app.errors import UpstreamError

# The pace of the line that says how far a load is, in seconds
_EVERY_S = 1.0


def watch_load(client: AdminClient, alias: str) -> dict[str, Any]:
    """The engine once it is up; raises UpstreamError with the diagnosis where it does not come up."""
    ended = threading.Event()
    if sys.stderr.isatty():
        threading.Thread(target=_tell, args=(client, alias, ended), daemon=True).start()
    try:
        return client.act(alias, "load", wait=1)
    finally:
        ended.set()


def _tell(client: AdminClient, alias: str, ended: threading.Event) -> None:
    """One line on the terminal, written over until the load ends."""
    while not ended.wait(_EVERY_S):
        with suppress(UpstreamError):
            engine = next((engine for engine in client.engines() if engine["alias"] == alias), None)
            if engine is not None and not ended.is_set():
                words = loading_words(engine) or "waiting for a place"
                print(f"\r\033[K{engine['state']}: {words}", end="", file=sys.stderr, flush=True)
    print("\r\033[K", end="", file=sys.stderr, flush=True)
