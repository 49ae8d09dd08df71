"""The console script, also for `python -m app`: what has to happen before the slow imports, then the command line."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.server.listening import Listeners
    from app.server.prepared import PreparedGateway


def main() -> None:
    """Runs `llama-tandem`. `serve` listens at once: its clients wait while the rest is imported."""
    # Imports make few cycles. A collection after every 700 objects would take a tenth of their time
    gc.set_threshold(10_000, 10, 10)
    # Until the command line handles it, Ctrl-C would print a traceback of an import
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if sys.argv[1:] == ["serve", "-"] and not _became_ordered():
        return
    early = _begun_early(sys.argv[1:2], sys.argv[2:])
    from app.cli import main as run

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(early)
    finally:
        if early is not None:
            early.close()


def _begun_early(command: list[str], words: list[str]) -> Listeners | PreparedGateway | None:
    if command == ["serve"]:
        from app.server.listening import Listeners

        listeners = Listeners()
        listeners.open_early(words)
        return listeners
    if command == ["run"]:
        from app.server.prepared import prepared_for_run

        return prepared_for_run(words)
    return None


def _became_ordered() -> bool:
    """Imports what a gateway needs, and waits for its order. Returns False without one."""
    import uvloop  # noqa: F401

    import app.cli.greeting
    import app.config.source
    import app.server.serve
    import app.supervisor.health  # noqa: F401
    from app.server.prepared import obey, read_order

    order = read_order()
    if order is None:
        return False
    obey(order)
    return True


if __name__ == "__main__":
    main()
