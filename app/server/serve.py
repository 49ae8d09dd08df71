"""`llama-tandem serve`: uvicorn with our own signals.

The first SIGTERM or SIGINT refuses new requests, gives running answers `drain_timeout`, then stops all engines. The
second one stops at once. uvicorn's own handlers are off: they would swallow a second SIGTERM and leave the exit code at
-15.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from app import logs
from app.auth.key_cache import Keyring
from app.config.exposure import refuse_open_network
from app.config.settings import Settings, root_url
from app.config.source import SettingsSource
from app.errors import ConfigError
from app.main import Gateway
from app.relay.response.writer import StreamAbortedError
from app.server.address_file import listed
from app.server.hangup import watch_hangup
from app.server.listening import LOOPBACK, Listeners
from app.server.port_holder import holder_of
from app.server.protocol import ConnectionLimits, Connections, LimitedProtocol, affordable
from app.server.reloads import Reloads
from app.server.uvicorn_parts import Config, Server

log = logs.get_logger("gateway")

# Called with the gateway and its root URL once it listens.
OnReady = Callable[[Gateway, str], Awaitable[None]]
# For clients that do not read the error that ends their stream.
LAST_WORDS_S = 1.0
_TICK_S = 1.0


class _Server(Server):
    """uvicorn looks every 100 ms whether it should exit, and waits as long after it has closed its connections.

    This one waits for neither: an idle gateway ends at once.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def leave(self) -> None:
        """Accepts no more connections, and ends when the present ones have their answers."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        # A tick renews the date header
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # A closed transport reports its end in the next turn of the loop
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self._wait_tasks_to_complete()
        if not self.force_exit:
            await self.lifespan.shutdown()

    def abort(self) -> None:
        """Cuts all open connections."""
        self.force_exit = True
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


class _Shutdown:
    """The three steps of a shutdown: drain, end the answers, abort the connections."""

    def __init__(self, gateway: Gateway, server: _Server) -> None:
        self._gateway = gateway
        self._server = server
        self._shutting_down = False

    def signalled(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        if self._shutting_down:
            log.warning("second signal: stopping at once", signal=name)
            self._cut()
            self._gateway.scheduler.hurry()
            return
        self._shutting_down = True
        busy, patience = self._gateway.metrics.in_flight.total(), self._gateway.settings.drain_timeout
        log.info("shutting down", signal=name, in_flight=busy, drain_timeout=patience if busy else 0)
        self._server.leave()
        self._gateway.refuse_new()
        loop.call_later(patience, self._cut)

    def _cut(self) -> None:
        self._gateway.relay.cut()
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._server.abort)


def limited(gateway: Gateway) -> Any:
    """Returns the factory of uvicorn's connection protocols."""
    limits = ConnectionLimits(body_s=gateway.settings.body_timeout)
    connections = Connections(replace(limits, connections=affordable(limits.connections)))

    def follow(settings: Settings) -> None:
        connections.limits = replace(connections.limits, body_s=settings.body_timeout)

    gateway.followers.append(follow)
    return partial(LimitedProtocol, connections=connections)


def check_exposure(settings: Settings, keys: Keyring) -> None:
    """Raises ConfigError for a network address without a key, unless the user has disabled authentication."""
    if keys.required and not keys.usable:
        log.warning(
            "no key is valid: every client is refused. Run `llama-tandem keys create --name NAME`, "
            "or `serve --no-auth` to disable authentication"
        )
    refuse_open_network(settings, key_required=keys.required)


def listen(listeners: Listeners, host: str, port: int, choose: str = "--port or TANDEM_PORT") -> socket.socket:
    """Returns a listening socket. Raises ConfigError with the process that holds the port."""
    try:
        return listeners.take(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        holder = holder_of(port) if getattr(error, "errno", None) == errno.EADDRINUSE else ""
        raise ConfigError(
            [f"Cannot listen on {host}:{port}: {reason}{holder}. Choose another with {choose}."]
        ) from None


async def _serve(
    gateway: Gateway, listeners: list[socket.socket], on_ready: OnReady, source: SettingsSource | None
) -> None:
    if gateway.here:
        gateway.planner.binary()  # A missing engine gives a message, not a failed start-up
    config = Config(
        gateway.app,
        http=limited(gateway),
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=False,  # The gateway does not use the client's forwarded address
        log_config=None,
        server_header=False,
    )
    server = _Server(config)
    shutdown = _Shutdown(gateway, server)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.signalled, number.name)
    reloads = Reloads(gateway, source)
    watch_hangup(loop, shutdown.signalled, reloads.begin)
    host, port = listeners[0].getsockname()[:2]
    announcing = asyncio.create_task(_announce(gateway, server, root_url(host, port), on_ready))
    try:
        await server.serve(sockets=listeners)
    finally:
        announcing.cancel()
        await reloads.close()
        await gateway.close()


async def _announce(gateway: Gateway, server: _Server, url: str, on_ready: OnReady) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    greeting = asyncio.ensure_future(on_ready(gateway, url))
    await asyncio.sleep(0)
    # Excludes all objects so far from garbage collection, which would pause requests. A collection before it would find
    # nothing, and take 25 ms in which engines start.
    gc.freeze()
    # Requests leave few cycles. A collection after every 700 objects would take 3 % of a request's cost.
    gc.set_threshold(10_000, 10, 10)
    if gateway.local:
        # 80 ms of imports that the first start would otherwise take
        import app.supervisor.health  # noqa: F401
    await greeting


def serve(
    settings: Settings, on_ready: OnReady, source: SettingsSource | None = None, listeners: Listeners | None = None
) -> None:
    """Runs until a signal. `source` reads the settings again for a reload. `listeners` may have listened before.

    Raises ConfigError, EngineNotFoundError or RayNotInstalledError before anything starts.
    """
    logs.configure(settings.log_format, settings.log_level)
    logging.getLogger("uvicorn.error").addFilter(logs.ExpectedErrorFilter(StreamAbortedError, asyncio.CancelledError))
    with asyncio.Runner(loop_factory=_loop) as runner, ExitStack() as listening:
        listeners = listening.enter_context(closing(listeners or Listeners()))
        gateway = Gateway(settings, source.read if source else None, source.files()[0] if source else None)
        check_exposure(settings, gateway.keys)
        sockets = [listen(listeners, settings.host, settings.port)]
        if settings.admin_port:
            sockets.append(listen(listeners, LOOPBACK, settings.admin_port, "admin_port"))
        listeners.close_early()
        if source is not None:
            url = root_url(*sockets[-1].getsockname()[:2])
            listening.enter_context(listed(settings.state_dir, url, source.files()[0]))
        runner.run(_serve(gateway, sockets, on_ready, source))


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
