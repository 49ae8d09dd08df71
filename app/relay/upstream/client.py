"""Sends one HTTP request to a destination over a pooled connection, and returns the response."""

from __future__ import annotations

from collections.abc import Callable, Collection

from app.config.speculation import NONE
from app.relay.buffered.eligibility import as_stream, asked_as_stream
from app.relay.headers import for_upstream, request_head
from app.relay.request.parse import Call
from app.relay.response.usage import UsageTap
from app.relay.upstream.connection import Connection, IncompleteResponseError
from app.relay.upstream.destination import Destination
from app.relay.upstream.pool import CONNECT_S, ConnectFailedError, Origin, Pool
from app.relay.upstream.response import UpstreamResponse


class UpstreamClient:
    """Close the client before the engines stop: llama-server exits only after its connections are closed."""

    def __init__(self) -> None:
        self._origins: dict[str, Origin] = {}
        self._pool = Pool()

    def close(self) -> None:
        """Cuts all open connections."""
        self._pool.close()

    def cut(self, base_urls: Collection[str]) -> None:
        """Cuts the connections to engines that are lost with their machine."""
        self._pool.cut(base_urls)

    async def ask(
        self, destination: Destination, call: Call, listen: Callable[[], UsageTap] = UsageTap
    ) -> UpstreamResponse:
        """Returns the response once its headers are here. For our own engines it reads a whole answer to its end.

        Calls `listen` for a tap on the bytes: if the client leaves first, the tap has all that is known. Raises
        UpstreamError, and then holds no connection.
        """
        body, streamed = destination.body_of(call), None
        if destination.streams_well and not call.streaming:
            status = destination.speculation
            if call.as_stream is None:
                streamed = as_stream(call.target, body, call.fields, drafts=status is not None and status.mode != NONE)
            elif call.as_stream and body is not None:
                streamed = asked_as_stream(body, call.spans)
        if streamed is not None:
            response = await self._request(destination, call, streamed, once=True)
            if await response.assemble(listen, call.answer.per_prompt if call.answer is not None else 1):
                return response
            response.close()
        response = await self._request(destination, call, body, once=call.streaming)
        if (refusal := destination.refusal(response.status)) is not None:
            response.close()
            raise refusal
        return response

    async def _request(
        self, destination: Destination, call: Call, body: bytes | None, *, once: bool
    ) -> UpstreamResponse:
        """Returns a response whose headers have come. Raises UpstreamError."""
        origin = self._origin(destination.base_url)
        head = request_head(
            call.method,
            origin.prefix + call.target,
            origin.authority,
            for_upstream(
                call.headers,
                key=destination.key,
                request_id=call.request_id,
                json=bool(body and not call.boundary),
            ),
            length=None if body is None else len(body),
            # llama-server closes the connection after a stream without announcing it (b11434). The next request on that
            # connection may go out before the close is seen, and is lost. To other servers a new connection would cost
            # a TLS handshake.
            close=once and not origin.tls,
        )
        connection = await self._connection(destination, origin)
        try:
            await connection.ask(head, body)
        except IncompleteResponseError as error:
            self._pool.give_back(connection)
            raise await destination.died(error) from error
        except BaseException:
            self._pool.give_back(connection)
            raise
        return UpstreamResponse(connection, self._pool, destination)

    async def _connection(self, destination: Destination, origin: Origin) -> Connection:
        try:
            return await self._pool.connection(origin)
        except ConnectFailedError as error:
            raise await destination.unreachable(str(error)) from error
        except TimeoutError as error:
            late = IncompleteResponseError(f"did not accept a connection within {CONNECT_S:g} s")
            raise await destination.died(late) from error

    def _origin(self, url: str) -> Origin:
        """Returns the origin of a URL. The cache is bounded, since engines get new ports."""
        origin = self._origins.get(url)
        if origin is None:
            if len(self._origins) >= 1024:
                self._origins.clear()
            origin = self._origins[url] = Origin.of(url)
        return origin
