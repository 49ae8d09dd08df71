"""`edit`: opens the settings file in the user's editor, and checks it when it is saved."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from app.cli.admin_client import admin_of
from app.cli.error_lines import print_error
from app.cli.example import write_example
from app.cli.options import confirmed
from app.config.settings import Settings, load_settings, settings_file
from app.errors import ConfigError, TandemError, UpstreamUnreachableError
from app.terminal import is_terminal, say


def edit_settings(config: Path | None) -> None:
    """Raises ConfigError if the saved file is invalid and the user leaves it so."""
    path = settings_file(config)
    if not path.exists():
        write_example(path)
        say(f"Wrote {path}.")
    while True:
        before = path.read_bytes()
        _open(path)
        try:
            settings = load_settings(config)
        except TandemError as error:
            if not _asked_again(error):
                raise
            continue
        if path.read_bytes() == before:
            say("Nothing has changed.")
            return
        say(f"{path} is valid: {len(settings.models)} models.")
        if settings.port:
            _offer_reload(settings)
        return


def _asked_again(error: TandemError) -> bool:
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return False
    print_error(error)
    return confirmed("Edit it again? [Y/n] ")


def _open(path: Path) -> None:
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "") or ["vi"]
    # Ctrl-C is for the editor
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run([*words, str(path)])
    except OSError as error:
        raise ConfigError([f"$EDITOR: {words[0]} cannot be run: {error.strerror}; set EDITOR to another"]) from None
    finally:
        signal.signal(signal.SIGINT, before)
    if done.returncode:
        raise ConfigError([f"$EDITOR: {words[0]} exited with {done.returncode}; {path} was not checked"])


def _offer_reload(settings: Settings) -> None:
    """Offers a reload to a running gateway."""
    try:
        with admin_of(settings) as client:
            client.get("/health")
            can_ask = is_terminal(sys.stdin) and is_terminal(sys.stderr)
            if not can_ask or not confirmed("Apply it to the running gateway? [Y/n] "):
                say("A gateway is running. `llama-tandem reload` applies the changes.")
                return
            client.post("/admin/reload")
            say("Applied.")
    except UpstreamUnreachableError:
        return
    except TandemError as error:
        say(f"Not applied: {error}")
