"""The console script, also for `python -m app`: what has to happen before the slow imports, then the command line."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.config.listen_address import ServeOptions


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
    prepared, words = None, sys.argv[2:]
    if sys.argv[1:2] == ["serve"]:
        from app.config.listen_address import serve_options

        if (options := serve_options(words)) is not None:
            raise SystemExit(_served(options, raises))
    if sys.argv[1:2] == ["run"]:
        from app.server.prepared import prepared_for_run

        prepared = prepared_for_run(words)
    from app.cli.program import main as run

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(prepared)
    finally:
        if prepared is not None:
            prepared.close()


def _served(options: ServeOptions, raises: bool) -> int:
    """Listens, then imports the gateway, and returns its exit code. `raises`: Ctrl-C is to raise KeyboardInterrupt."""
    from app.server.listening import Listeners

    listeners = Listeners()
    listeners.open_early(options)
    from app.cli.plain_serve import serve_plainly

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return serve_plainly(options, listeners)


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
