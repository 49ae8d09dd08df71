"""The gateway's protocol alone on a socket, before an application that tells what reached it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from app.server.protocol import ConnectionLimits, Connections, LimitedProtocol


class World:
    """The server, what its application did, and clients."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.connections = Connections(limits)
        self.port = 0
        self.bodies: list[bytes] = []
        self.headers: list[Any] = []
        self.left = 0
        self.clients: list[Client] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """`/early` answers without reading, `/flood` never stops, the rest says how much it has read."""
        if scope["path"] != "/early" and not await self._read(receive):
            self.left += 1
            return
        self.headers = list(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"] == "/flood":
            if (await self._sent(send, receive)) == "http.disconnect":
                self.left += 1
                return
        await send({"type": "http.response.body", "body": b"done", "more_body": False})

    async def _read(self, receive: Any) -> bool:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        return True

    async def _sent(self, send: Any, receive: Any) -> str:
        gone = asyncio.ensure_future(receive())
        sent = asyncio.ensure_future(send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True}))
        await asyncio.wait({gone, sent}, return_when=asyncio.FIRST_COMPLETED)
        await sent
        if gone.done():
            kind: str = gone.result()["type"]
            return kind
        gone.cancel()
        return ""

    async def open(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]

    async def until(self, true: Callable[[], bool]) -> None:
        """Fails the test where it does not come true."""
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def sent(self, data: bytes) -> Client:
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def everything(self) -> bytes:
        """To the end of the connection, which must come by itself."""
        async with asyncio.timeout(10):
            found = b""
            try:
                while part := await self.reader.read(65536):
                    found += part
            except ConnectionError:
                pass
            return found

    async def ask(self) -> bytes:
        """One request and the first bytes of its answer."""
        await self.sent(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(10):
            return await self.reader.read(65536)


def serving(test: Callable[[World], Awaitable[None]], limits: ConnectionLimits) -> World:
    """Serves while `test` lasts; whatever it opened must be closed or gone afterwards."""
    world = World(limits)

    async def main() -> None:
        config = uvicorn.Config(
            world.app, interface="asgi3", lifespan="off", access_log=False, log_config=None, ws="none"
        )
        config.load()
        protocol = partial(LimitedProtocol, connections=world.connections)
        factory: Any = partial(protocol, config=config, server_state=ServerState(), app_state={})
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        world.port = server.sockets[0].getsockname()[1]
        try:
            await test(world)
        finally:
            server.close()
            for client in world.clients:
                client.writer.transport.abort()
            await world.until(lambda: repr(world.connections) == "<Connections 0 open, 0 idle>")

    asyncio.run(main())
    return world
