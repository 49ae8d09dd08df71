"""Connections for bytes in bulk: kept, given up, aborted, and led through a proxy."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.models.download.http import Failures, HttpConnections
from tests.support.gateway import eventually

BODY = b"0123456789"


class Server(ThreadingHTTPServer):
    """Writes down what it is asked, with the address that each connection came from."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], int]] = []
        self.silent = threading.Event()
        self.close_after = False
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def connections(self) -> int:
        return len({port for *_, port in self.asked})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.server.asked.append((self.requestline, dict(self.headers), self.client_address[1]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if not self.server.silent.is_set():
            self.wfile.write(BODY)
        # Without a word: the client finds out when it wants to ask again
        self.close_connection = self.server.close_after

    def do_CONNECT(self) -> None:
        self.server.asked.append((self.requestline, dict(self.headers), self.client_address[1]))
        self.send_error(403)


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """And no proxy of the person's own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with running() as found:
        yield found


def fetch(wire: HttpConnections, url: str, count: int = len(BODY)) -> bytes:
    with wire.get(url, {"Range": "bytes=0-9"}) as response:
        return response.read(count)


def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    """Once its answer was read to the end."""
    with HttpConnections() as wire:
        assert [fetch(wire, f"http://{server.address}/{n}?x=1") for n in range(3)] == [BODY] * 3
    assert server.connections == 1
    assert [line for line, *_ in server.asked] == [f"GET /{n}?x=1 HTTP/1.1" for n in range(3)]


def test_an_answer_that_was_not_read_takes_its_connection_along(server: Server) -> None:
    with HttpConnections() as wire:
        assert fetch(wire, f"http://{server.address}/", 3) == BODY[:3]
        assert fetch(wire, f"http://{server.address}/") == BODY
    assert server.connections == 2


def test_a_connection_that_the_server_has_closed_is_not_used_again(server: Server) -> None:
    """It closes idle ones as it likes; that is no failure."""
    server.close_after = True
    with HttpConnections() as wire:
        for _ in range(2):
            assert fetch(wire, f"http://{server.address}/") == BODY
            idle = [connection for kept in wire._idle.values() for connection in kept]
            eventually(lambda idle=idle: all(_readable(connection.sock) for connection in idle))  # type: ignore[misc]
    assert server.connections == 2


def _readable(sock: Any) -> bool:
    import select

    return bool(select.select([sock], [], [], 0)[0])


def test_a_read_from_a_silent_server_can_be_aborted(server: Server) -> None:
    """From another thread; it ends as a failed one would."""
    server.silent.set()
    ended = threading.Event()
    with HttpConnections() as wire:

        def read() -> None:
            try:
                if len(fetch(wire, f"http://{server.address}/")) < len(BODY):
                    ended.set()
            except Failures:
                ended.set()

        reading = threading.Thread(target=read)
        reading.start()
        eventually(lambda: server.asked)
        eventually(lambda: wire.abort() or ended.wait(0.05))  # type: ignore[func-returns-value]
        reading.join()


def test_a_proxy_gets_the_whole_address_and_its_password(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@{server.address}")
    with HttpConnections() as wire:
        assert fetch(wire, "http://bytes.example/m.gguf?s=1") == BODY
    line, headers, _ = server.asked[0]
    assert line == "GET http://bytes.example/m.gguf?s=1 HTTP/1.1" and headers["Host"] == "bytes.example"
    assert headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"


def test_a_host_that_needs_no_proxy_gets_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with HttpConnections() as wire:
        assert fetch(wire, f"http://{server.address}/") == BODY


def test_https_goes_through_a_tunnel(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is told host and port alone, and our headers are not for it; what it refuses is a failure."""
    monkeypatch.setenv("https_proxy", server.address)
    with HttpConnections() as wire, pytest.raises(OSError, match="403"):
        fetch(wire, "https://bytes.example/m.gguf?signature=1")
    line, headers, _ = server.asked[0]
    assert line.startswith("CONNECT bytes.example:443 ") and "Range" not in headers


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/m", "http:///m", "http://host/a b", "http://h:x/"])
def test_what_is_no_address_of_http_is_refused(server: Server, url: str) -> None:
    """A redirect may name anything."""
    with HttpConnections() as wire, pytest.raises(Failures):
        fetch(wire, url)


def test_a_proxy_of_another_kind_is_said(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with HttpConnections() as wire, pytest.raises(Failures, match=r"socks5://127\.0\.0\.1 is not an HTTP proxy"):
        fetch(wire, "http://bytes.example/")
