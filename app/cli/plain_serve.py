"""`serve` without the command line's library, for options that need neither help nor a correction."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.error_lines import print_error, report_system_errors
from app.config.listen_address import ServeOptions
from app.errors import TandemError

if TYPE_CHECKING:
    from app.main import Gateway
    from app.server.listening import Listeners


def serve_plainly(options: ServeOptions, listeners: Listeners) -> int:
    """Runs the gateway until a signal, and returns the exit code."""
    # As for every command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    overrides = {"host": options.host, "port": options.port, "no_auth": options.no_auth or None}
    try:
        with report_system_errors():
            serve(options.config, overrides, listeners)
    except TandemError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return 0


def serve(config: Path | None, overrides: Mapping[str, Any], listeners: Listeners | None = None) -> None:
    """Runs the gateway until a signal. `overrides` are options by the names of settings. Raises TandemError."""
    from app.config.source import SettingsSource

    source = SettingsSource(config, overrides)
    settings = source.read()
    from app.server.serve import serve as run

    run(settings, _announce, source, listeners)


async def _announce(gateway: Gateway, url: str) -> None:
    from app.cli.greeting import greet

    await greet(gateway, url)
