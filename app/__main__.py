"""The console script, also for `python -m app`: what has to happen before the slow imports, then the command line."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Runs `llama-tandem`. `serve` listens at once: its clients wait while the rest is imported."""
    # Until the command line handles it, Ctrl-C would print a traceback of an import
    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    listeners = None
    if sys.argv[1:2] == ["serve"]:
        from app.server.listening import Listeners

        listeners = Listeners()
        listeners.open_early(sys.argv[2:])
    from app.cli import main as run

    if raises:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run(listeners)


if __name__ == "__main__":
    main()
