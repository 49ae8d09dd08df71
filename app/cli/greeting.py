"""The greeting of `serve`: the first output that the user sees."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from app.config.model_entry import AttachedEntry
from app.errors import TandemError
from app.terminal import paint, visible

if TYPE_CHECKING:
    from app.main import Gateway

# More lines would push the address off the screen
_MODELS_SHOWN = 12


async def greet(gateway: Gateway, url: str) -> None:
    """Prints the greeting when the only model is loaded, or at once if models load on demand."""
    eager = gateway.eager
    if eager is None:
        _say(_greeting(gateway, url))
        return
    _say(f"llama-tandem listens at {url}; loading {eager} ...")
    engine = await gateway.scheduler.settled(eager)
    if engine.diagnosis is None:
        _say(_greeting(gateway, url))
    else:
        log = "".join(f"\n    {line}" for line in engine.diagnosis.log_tail)
        _say(f"{engine.alias} did not load: {engine.diagnosis}{log}")


def _greeting(gateway: Gateway, url: str) -> str:
    states = {name: _state(gateway, name) for name in gateway.catalog.names}
    shown = [f"{name} ({state})" for name, state in states.items()][:_MODELS_SHOWN]
    more = [f"and {len(states) - len(shown)} more"] if len(states) > len(shown) else []
    first = next((name for name, state in states.items() if state != _MISSING), next(iter(states), ""))
    return (
        f"llama-tandem is ready at {paint(f'{url}/v1', 'bold')}\n"
        f"models: {visible(', '.join(shown + more))}\n"
        f"chat: llama-tandem chat {visible(first)}    endpoints: {url}/docs    stop: Ctrl-C\n"
        f"{_page(gateway, url)}"
    )


def _page(gateway: Gateway, url: str) -> str:
    """Returns the page's address. The secret is for a terminal only, since a file would keep it."""
    if not sys.stdout.isatty():
        return f"page: {url}    sign in: llama-tandem open"
    return f"page: {gateway.page_link(url)} (once, within a minute; later: llama-tandem open)"


_MISSING = "files missing"


def _state(gateway: Gateway, name: str) -> str:
    ref = gateway.catalog.resolve(name)
    if isinstance(ref.entry, AttachedEntry):
        return "attached"
    if (state := str(gateway.scheduler.status(ref).state)) != "stopped":
        return state
    try:
        gateway.catalog.files(ref)
    except TandemError:
        return "downloads on first request" if ref.entry.pull == "on_demand" else _MISSING
    return "loads on first request"


def _say(text: str) -> None:
    with suppress(OSError):  # stdout is closed; clients may still connect
        print(text, flush=True)
