"""A host takes the port, holds it until the child is reaped, and starts one order once."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from app.supervisor.child import Ended
from app.supervisor.host import LocalHost, SpawnOrder
from app.supervisor.orphans import MARKER, marker
from tests.support.ports import free_port

SAYS_ITS_LINE = (
    f"import os, sys, time; print(sys.argv[1:], os.environ.get('{MARKER}')); sys.stdout.flush(); time.sleep(60)"
)
WORDS = ("--model", "m", "--host", "127.0.0.1", "--port", "1")


def order(id: str, *, above: int = 0, argv: tuple[str, ...] | None = None) -> SpawnOrder:
    line = (sys.executable, "-c", SAYS_ITS_LINE, *WORDS) if argv is None else argv
    return SpawnOrder(id, line, {"PATH": "/usr/bin:/bin"}, above)


async def first_line(lines: list[str]) -> str:
    while not lines:  # noqa: ASYNC110 - polling is enough
        await asyncio.sleep(0.01)
    return lines[0]


def test_the_command_line_gets_the_hosts_address_and_port() -> None:
    """Two orders never have the same port, and an end gives it back."""

    async def main() -> None:
        lines: list[str] = []
        host = LocalHost(first := free_port(), address="127.0.0.2")
        child = await host.spawn(order("a"), lines.append)
        beside = await host.spawn(order("b"), lambda _: None)
        assert beside.port > child.port >= first and child.base_url == f"http://127.0.0.2:{child.port}"
        said = await first_line(lines)
        assert f"'--host', '127.0.0.2', '--port', '{child.port}'" in said and marker() in said
        child.signal(signal.SIGKILL)
        assert await child.wait() == Ended(-signal.SIGKILL) == child.ended
        again = await host.spawn(order("c"), lambda _: None)
        assert again.port == child.port
        above = await host.spawn(order("d", above=beside.port), lambda _: None)
        assert above.port > beside.port
        for other in (beside, again, above):
            await other.terminate(0, asyncio.Event())

    asyncio.run(main())


def test_an_order_that_is_given_twice_starts_one_child() -> None:
    async def main() -> None:
        host = LocalHost(free_port())
        child = await host.spawn(order("a"), lambda _: None)
        assert await host.spawn(order("a"), lambda _: None) is child
        await child.terminate(0, asyncio.Event())
        again = await host.spawn(order("a"), lambda _: None)
        assert again is not child
        await again.terminate(0, asyncio.Event())

    asyncio.run(main())


def test_a_program_that_cannot_be_executed_leaves_no_port_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.supervisor.child.tied_to_parent", list)

    async def main() -> None:
        host = LocalHost(free_port())
        before = await host.spawn(order("a"), lambda _: None)
        await before.terminate(0, asyncio.Event())
        with pytest.raises(OSError, match="No such file"):
            await host.spawn(order("b", argv=("/nonexistent/llama-server", "--port", "1")), lambda _: None)
        child = await host.spawn(order("c"), lambda _: None)
        assert child.port == before.port
        await child.terminate(0, asyncio.Event())

    asyncio.run(main())
