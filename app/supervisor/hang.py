"""Finds a READY engine that hangs: it has a request, does nothing for it, and its queue does not answer.

llama-server's handler of SIGTERM takes a lock of its queue, and may wait for it for ever while the port still accepts
connections (b11434, seen once). Its clients would get comments, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.supervisor.activity import Activity, activity_of
from app.supervisor.host import Child, Host
from app.supervisor.readiness import EngineAddress

# Looks in each half of the limit
_LOOKS = 4
# An idle llama-server looks once a second for clients that left: a thousandth of a core
_CPU_SHARE_AT_REST = 0.01


async def until_hung(
    host: Host, child: Child, address: EngineAddress, *, busy: Callable[[], bool], limit: float
) -> str:
    """Returns when the engine has hung for `limit` seconds, with the cause; never if that is 0. Raises HostLostError.

    In the first half it must use no processor time. A GPU may work then, and a client may not read, so in the second
    half it must leave a question to its queue without an answer, which it looks at between two batches.
    """
    if not limit:
        await asyncio.Event().wait()
    half = limit / 2
    while True:
        await _until_still(host, child, busy, half)
        before = await host.run(activity_of, child.pid)
        if await _queue_answers(address, half) or not busy():
            continue
        if _at_rest(before, await host.run(activity_of, child.pid), half):
            return f"It has done nothing for {limit:g} s, although it has a request, and its queue does not answer"


async def _until_still(host: Host, child: Child, busy: Callable[[], bool], seconds: float) -> None:
    """Returns when the engine has been busy and at rest for so many seconds."""
    loop = asyncio.get_running_loop()
    pause = seconds / _LOOKS
    before: Activity | None = None
    since = looked = loop.time()
    while before is None or loop.time() - since < seconds:
        await asyncio.sleep(pause)
        now = await host.run(activity_of, child.pid) if busy() else None
        if before is None or now is None or not _at_rest(before, now, loop.time() - looked):
            since = loop.time()
        before, looked = now, loop.time()


def _at_rest(before: Activity, now: Activity, seconds: float) -> bool:
    """Whether the process slept in between. A stopped one, as by Ctrl-Z, may be continued, and a read is work."""
    slept = now.read == before.read and now.cpu - before.cpu < _CPU_SHARE_AT_REST * seconds
    return slept and not now.stopped


async def _queue_answers(address: EngineAddress, seconds: float) -> bool:
    """Whether /slots answers, with whatever: a build without it says so at once, and is never found to hang."""
    # httpx2 takes 80 ms to import, and most engines never need it here
    import httpx2

    from app.supervisor.engine_client import engine_client

    async with engine_client(address.base_url, address.key, seconds, keeps_connections=False) as client:
        try:
            await client.get("/slots")
        except httpx2.HTTPError:
            return False
    return True
