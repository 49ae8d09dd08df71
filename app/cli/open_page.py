"""`open`: opens the page of a running gateway in this machine's browser."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import Config, errors_in_words

commands = typer.Typer()


@commands.command("open")
def open_page(
    browser: Annotated[bool, typer.Option(help="Start a browser; without it the link is only printed.")] = True,
    config: Config = None,
) -> None:
    """Open the page of the running gateway."""
    from app.cli.engine_commands import client_of

    with errors_in_words(), client_of(config) as client:
        link = f"{client.root}/ui#link={client.post('/admin/links')['link']}"
    # A text browser would take over the terminal
    started = browser and _start_browser(link)
    print(f"{link}\nThe link works once, within a minute.{' A browser was started with it.' if started else ''}")


def _start_browser(link: str) -> bool:
    """Starts a graphical browser. Tells whether there is one."""
    import os
    import sys
    import webbrowser

    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return webbrowser.open(link)
