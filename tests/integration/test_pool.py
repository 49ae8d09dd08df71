"""Connections to servers behind us, over real sockets: kept for a moment, never lent twice."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.relay.upstream import pool as module
from app.relay.upstream.connection import Connection
from app.relay.upstream.pool import ConnectFailedError, Origin, Pool

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers every request; counts its connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.lost = asyncio.Event()
        self.url = ""


class _Served(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._server.connections += 1
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.lost.set()


@asynccontextmanager
async def serving(**how: Any) -> AsyncIterator[Server]:
    server = Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Served(server), "127.0.0.1", 0, **how)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if how else 'http'}://127.0.0.1:{port}"
    async with listener:
        yield server


async def fetched(pool: Pool, url: str) -> Connection:
    connection = await pool.connection(Origin.of(url))
    await connection.ask(b"GET / HTTP/1.1\r\n\r\n", None)
    body = b""
    while chunk := await connection.read():
        body += chunk
    assert body == b"hi"
    return connection


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the pool tells nobody
        await asyncio.sleep(0.01)


def run(script: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(script(), 20))  # type: ignore[arg-type]


def test_a_connection_serves_one_request_after_another() -> None:
    """And two at once have one each."""

    async def script() -> None:
        async with serving() as server:
            pool = Pool()
            for _ in range(3):
                pool.give_back(await fetched(pool, server.url))
            assert server.connections == 1
            first, second = await fetched(pool, server.url), await fetched(pool, server.url)
            assert first is not second and server.connections == 2
            pool.give_back(first)
            pool.give_back(second)
            pool.close()

    run(script)


def test_an_idle_connection_is_closed_before_the_server_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no request is lost on one that is being closed."""
    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.05)

    async def script() -> None:
        async with serving() as server:
            pool = Pool()
            pool.give_back(await fetched(pool, server.url))
            await server.lost.wait()
            await until(lambda: not pool._open and not pool._sweep)
            assert not pool._idle
            pool.give_back(await fetched(pool, server.url))
            assert server.connections == 2
            pool.close()

    run(script)


def test_a_connection_that_its_server_closed_is_forgotten() -> None:
    """The next request gets a new one."""

    async def script() -> None:
        async with serving() as server:
            pool = Pool()
            connection = await fetched(pool, server.url)
            pool.give_back(connection)
            connection._transport.abort()  # as if from the other end
            await until(lambda: not pool._open)
            assert not any(pool._idle.values())
            pool.give_back(await fetched(pool, server.url))
            assert server.connections == 2
            pool.close()

    run(script)


def test_the_end_of_a_pool_cuts_what_is_under_way() -> None:
    """An engine with a connection to it would not stop."""

    async def script() -> None:
        async with serving() as server:
            pool = Pool()
            await pool.connection(Origin.of(server.url))
            pool.close()
            await server.lost.wait()

    run(script)


def test_nobody_there_is_told_in_the_systems_words() -> None:
    """Refused, and unknown."""

    async def script() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(ConnectFailedError, match=r"^Connection refused$"):
                await Pool().connection(Origin.of(f"http://127.0.0.1:{port}"))
        with pytest.raises(ConnectFailedError, match=r"not known|resolution|No address"):
            await Pool().connection(Origin.of("http://no.such.host.invalid"))

    run(script)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """In words that say so."""
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def script() -> None:
        async with serving(ssl=context) as server:
            with pytest.raises(ConnectFailedError, match="certificate is not trusted"):
                await Pool().connection(Origin.of(server.url))
            pool = Pool()
            pool._tls = ssl.create_default_context(cafile=certificate)
            pool._tls.check_hostname = False
            pool.give_back(await fetched(pool, server.url))
            pool.close()

    run(script)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:8001", ("127.0.0.1", 8001, False, "127.0.0.1:8001", "")),
        ("https://example.com", ("example.com", 443, True, "example.com", "")),
        ("https://example.com:443/llm", ("example.com", 443, True, "example.com", "/llm")),
        ("http://[::1]:9001", ("::1", 9001, False, "[::1]:9001", "")),
        ("http://bücher.example/", ("xn--bcher-kva.example", 80, False, "xn--bcher-kva.example", "")),
    ],
)
def test_an_address_names_host_port_and_path(url: str, origin: tuple[Any, ...]) -> None:
    """As the server's Host header wants them."""
    assert tuple(Origin.of(url)) == origin
