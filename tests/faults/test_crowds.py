"""Many connections that ask nothing, and a client that reads nothing: others are answered as ever."""

import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx2
import psutil
import pytest

from tests.support.gateway import Gateway

Make = Callable[..., Gateway]
WANTED = 10_000
# What a connection may cost that has sent half a head; 6 KiB was seen.
LARGEST_BYTES = 20_000


@pytest.fixture
def descriptors() -> Iterator[int]:
    """How many sockets a test may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED + 1000 if hard == resource.RLIM_INFINITY else min(WANTED + 1000, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield min(WANTED, max(soft, most) - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def address(gateway: Gateway) -> tuple[str, int]:
    return "127.0.0.1", int(gateway.url.rsplit(":", 1)[1])


def test_ten_thousand_idle_connections(make_gateway: Make, descriptors: int) -> None:
    """Half of them in the midst of their headers; as many as the machine's limit allows, which is printed."""
    gateway = make_gateway()
    assert gateway.chat().status_code == 200
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    with ExitStack() as crowd:
        for number in range(descriptors):
            idle = crowd.enter_context(socket.create_connection(address(gateway), timeout=30))
            if number % 2:
                idle.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-half: ")
        for _ in range(3):
            # On a connection of its own: the client's may be idle for so long by now that it is being closed
            asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
            assert httpx2.post(f"{gateway.url}/v1/chat/completions", json=asked, timeout=60).status_code == 200
        grown = process.memory_info().rss - before
        print(f"{descriptors} connections, {process.num_fds()} open in the gateway, {grown / 2**20:.0f} MiB more")
        assert grown < descriptors * LARGEST_BYTES
    assert gateway.chat().status_code == 200


def test_a_client_that_reads_nothing_fills_no_memory(make_gateway: Make) -> None:
    """Its engine waits with it; whoever asks meanwhile has the other slot."""
    gateway = make_gateway(args=["--tokens", "1000000"], parallel=2)
    assert gateway.chat(max_tokens=1).status_code == 200
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    with socket.create_connection(address(gateway), timeout=30) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
        deaf.sendall(head + body)
        for _ in range(20):
            assert gateway.chat(max_tokens=4).status_code == 200
        assert process.memory_info().rss - before < 2**25
