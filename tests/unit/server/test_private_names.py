"""uvicorn's private names that `server/` builds on: a release that drops one must fail here, not at a client."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.support.paths import ROOT

OF_A_PROTOCOL = [
    *("loop", "parser", "transport", "headers", "cycle", "limit_concurrency"),
    *("timeout_keep_alive", "timeout_keep_alive_task", "timeout_keep_alive_handler", "_unset_keepalive_if_required"),
    *("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
    *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
    "on_response_complete",
]
OF_A_CYCLE = [
    *("response_started", "response_complete", "disconnected", "message_event"),
    *("chunked_encoding", "expected_content_length"),
]
OF_A_SERVER = [
    *("capture_signals", "force_exit", "should_exit", "started", "server_state"),
    *("main_loop", "on_tick", "shutdown", "_wait_tasks_to_complete"),
]


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


def test_a_protocol_and_its_cycle_have_them() -> None:
    async def request() -> tuple[HttpToolsProtocol, _Transport]:
        async def app(scope: object, receive: object, send) -> None:  # type: ignore[no-untyped-def]
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        config = uvicorn.Config(app, lifespan="off")
        config.load()
        protocol = HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        transport = _Transport()
        protocol.connection_made(transport)
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.gather(*protocol.tasks)
        return protocol, transport

    protocol, transport = asyncio.run(request())
    assert transport.written.startswith(b"HTTP/1.1 204")
    assert [name for name in OF_A_PROTOCOL if not hasattr(protocol, name)] == []
    assert [name for name in OF_A_CYCLE if not hasattr(protocol.cycle, name)] == []
    assert protocol.url == b"/"


@pytest.mark.parametrize("name", OF_A_SERVER)
def test_a_server_has_them(name: str) -> None:
    assert hasattr(uvicorn.Server(uvicorn.Config("app:app")), name)


def test_the_command_line_of_uvicorn_is_not_imported() -> None:
    """Which takes time and memory. The package is whole for who imports it afterwards."""
    code = (
        "import app.server.serve, sys; assert not {'click', 'uvicorn.main', 'watchfiles'} & set(sys.modules);"
        "import uvicorn; from app.server.uvicorn_parts import Server; assert uvicorn.Server is Server; uvicorn.run"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_a_server_knows_its_connections() -> None:
    """An abort goes over them."""
    assert isinstance(ServerState().connections, set)
