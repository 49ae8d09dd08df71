"""A peer that resets what it has accepted: on uvloop the connection may be gone before its client has looked."""

import asyncio
import itertools
import socket
import struct
import threading
import time
from collections import Counter

import httpx2
import uvloop

from app.supervisor.engine_client import engine_client

CONNECTIONS, AT_ONCE = 100, 4


def resetting(listener: socket.socket) -> None:
    """Accepts and resets, sooner and later, until the listener is closed."""
    for number in itertools.count():
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        time.sleep(number % 8 * 50e-6)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()


async def failures(url: str) -> Counter[str]:
    found: Counter[str] = Counter()
    async with engine_client(url, None, 5.0) as client:
        for _ in range(CONNECTIONS):
            try:
                await client.get("/health")
            except httpx2.HTTPError:
                found["HTTPError"] += 1
            except Exception as error:
                found[repr(error)] += 1
    return found


async def all_failures(url: str) -> Counter[str]:
    return sum(await asyncio.gather(*(failures(url) for _ in range(AT_ONCE))), Counter())


def test_a_lost_connection_is_an_http_error() -> None:
    """Else the task that watches a start would end, and the model would be starting for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=resetting, args=[listener], daemon=True)
        thread.start()
        try:
            found = uvloop.run(all_failures(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert found == {"HTTPError": AT_ONCE * CONNECTIONS}
