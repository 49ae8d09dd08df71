"""The way to a server behind us: what is asked of it, and that every end gives connection and lease back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace
from pydantic import SecretStr

from app.api.formats.openai import OpenAIFormat
from app.config.model_entry import AttachedEntry, Entry, Files, LocalEntry
from app.config.settings import Settings
from app.errors import Diagnosis, LogprobsRefusedError, QueueTimeoutError, UpstreamDiedError, UpstreamUnreachableError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.pulls.on_demand import OnDemand
from app.pulls.registry import Pulls
from app.records.metrics import Metrics
from app.relay.open_request import OpenRequest
from app.relay.record import AnswerMeter
from app.relay.relay import Relay
from app.relay.request.body import Message, Routing, routing
from app.relay.request.parse import Call, CallReader
from app.relay.response.writer import ResponseWriter
from app.relay.upstream.client import UpstreamClient
from app.relay.upstream.connection import IncompleteResponseError
from app.relay.upstream.destination import Destination
from app.relay.upstream.pool import ConnectFailedError, Origin
from app.relay.upstream.response import UpstreamResponse
from app.relay.upstream.router import Router
from app.scheduler.engine_status import EngineStatus
from app.scheduler.lease import Lease
from app.scheduler.queue import Ticket
from app.speculation.status import Status
from app.supervisor.states import EngineState

CRASHED = Diagnosis("killed", "It was killed.", "", permanent=False)
LOCAL = LocalEntry(target=Files.model_validate({"path": "/m.gguf"}))
OTHER = AttachedEntry(url="http://other:9001", api_key=SecretStr("their-key"), model="theirs", aliases=("o",))


class Response:
    """A connection on which these chunks come as an answer; an exception among them is raised."""

    def __init__(self, *chunks: bytes | Exception, status: int = 200) -> None:
        self.status = status
        self.headers = [(b"Content-Type", b"text/event-stream")]
        self.ended = ""
        self.reusable = False
        self._chunks = list(chunks)

    async def read(self) -> bytes:
        if not self._chunks:
            self.reusable = True
            return b""
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def abort(self) -> None:
        self.ended = "cut"


def parsed(head: bytes, body: bytes | None) -> SimpleNamespace:
    """A request as a server would read it, names in lower case."""
    line, *fields = head.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")
    method, target, version = line.split(" ")
    assert version == "HTTP/1.1"
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    assert headers.pop("content-length", None) == (None if body is None else str(len(body)))
    host = headers.pop("host")
    return SimpleNamespace(method=method, url=f"http://{host}{target}", headers=headers, data=body)


async def _nowhere(message: Message) -> None:
    raise AssertionError("nothing is forwarded here")


@dataclass
class Entered:
    """An answer that has begun, and what is held for it."""

    destination: Destination
    response: UpstreamResponse
    request: OpenRequest

    def close(self) -> None:
        self.request.close()


class World:
    """Upstreams whose connections and scheduler do as they are told, and are written down."""

    def __init__(self, outcome: Any = None, **entries: Entry) -> None:
        self.outcome = outcome or Response(b"data")
        self.requests: list[SimpleNamespace] = []
        self.held = 0
        self.engine: Any = SimpleNamespace(verbs=[], diagnosis=None, post_mortem=self._post_mortem, speculation=None)
        self.engine.loading = None
        self.engine.drafted = lambda: self.engine.verbs.append("drafted")
        self.engine.unresponsive = self._unresponsive
        catalog = self.catalog = Catalog(Settings(models=entries or {"m": LOCAL}))
        on_demand = OnDemand(catalog, Pulls(lambda wanted, update: lambda emit, sleep: None))
        self.on_demand = on_demand
        self.router = Router(catalog, self, on_demand)  # type: ignore[arg-type]
        client = UpstreamClient()
        client._pool = self  # type: ignore[assignment]
        calls = CallReader(catalog, max_body=1 << 20)
        self.relay = Relay(calls, self.router, client, Metrics(), report=lambda _: None)

    def status(self, alias: str) -> EngineStatus:
        """The scheduler's."""
        return EngineStatus(alias, EngineState.READY, in_flight=self.held)

    async def _post_mortem(self, key: str | None) -> Diagnosis | None:
        diagnosis: Diagnosis | None = self.engine.diagnosis
        return diagnosis

    async def _unresponsive(self, key: str | None) -> None:
        self.engine.verbs.append(f"unresponsive: {key}")

    async def lease(self, ref: ModelRef, body: bytes | None = None, ticket: Ticket | None = None) -> Lease:
        self.held += 1
        key, url = ref.engine_key, "http://127.0.0.1:8001"
        return Lease(key, url, "our-key", self.engine, self._released, answered=lambda: None, in_flight=self.held)

    def _released(self) -> None:
        self.held -= 1

    async def connection(self, origin: Origin) -> Any:
        if isinstance(self.outcome, ConnectFailedError | TimeoutError):
            self.requests.append(SimpleNamespace(origin=origin))
            raise self.outcome
        response = self.outcome if isinstance(self.outcome, Response) else Response()
        response.ask = self._ask  # type: ignore[attr-defined]
        return response

    async def _ask(self, head: bytes, body: bytes | None) -> None:
        self.requests.append(parsed(head, body))
        if asyncio.iscoroutinefunction(self.outcome):
            await self.outcome()
        if isinstance(self.outcome, Exception):
            raise self.outcome

    def give_back(self, connection: Response) -> None:
        connection.ended = connection.ended or ("to the pool" if connection.reusable else "cut")

    async def enter(self, alias: str = "m", **more: Any) -> Entered:
        return await self.opened(self.call(alias, **more))

    async def opened(self, call: Call) -> Entered:
        """As the relay opens an answer; where that fails, nothing is held any more."""
        writer = ResponseWriter(_nowhere, OpenAIFormat(), "r-1")
        request = OpenRequest("POST /x", writer, AnswerMeter(), Ticket())
        return Entered(*await self.relay._open(request, call), request)

    def call(self, alias: str = "m", **more: Any) -> Call:
        return call(self.catalog.resolve(alias), **more)


def call(
    ref: ModelRef,
    target: str = "/v1/chat/completions",
    body: bytes | None = b'{"model": "m", "x": 1}',
    *,
    streaming: bool = True,
) -> Call:
    headers = [(b"authorization", b"Bearer client"), (b"x-conversation-id", b"c"), (b"accept", b"*/*")]
    return Call(
        ref,
        "POST",
        target,
        headers,
        body,
        streaming=streaming,
        request_id="r-1",
        fields=routing(body) if body else Routing(),
    )


@pytest.mark.parametrize(
    ("alias", "target", "streaming", "closes"),
    [
        ("m", "/v1/chat/completions", True, True),
        ("m", "/v1/chat/completions", False, True),  # asked for as a stream
        ("m", "/tokenize", False, False),
        ("plain", "/v1/chat/completions", True, True),
        ("plain", "/v1/chat/completions", False, False),
        ("tls", "/v1/chat/completions", True, False),
    ],
)
def test_a_streams_connection_is_not_used_again(alias: str, target: str, streaming: bool, closes: bool) -> None:
    """llama-server closes it behind the stream, unannounced; where a new one costs a TLS handshake it is kept."""

    async def main() -> None:
        tls = AttachedEntry(url="https://other")
        world = World(
            Response(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n'),
            m=LOCAL,
            plain=OTHER,
            tls=tls,
        )
        await world.enter(alias, target=target, streaming=streaming)
        assert ("connection" in world.requests[0].headers) == closes

    asyncio.run(main())


REFUSED = ConnectFailedError("Connection refused")


@pytest.mark.parametrize(("up", "streaming"), [(True, True), (False, True), (False, False)])
def test_files_are_looked_for_where_no_engine_is_up(up: bool, streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for an engine that is up costs no look at the disk; a stream is patient."""

    async def main() -> None:
        entry = LocalEntry(target=Files(repo="org/m"), pull="on_demand")
        world, ensured = World(m=entry), []

        async def ensure(ref: ModelRef, *, patient: bool) -> None:
            ensured.append((ref.name, patient))

        state = EngineState.READY if up else EngineState.STOPPED
        monkeypatch.setattr(World, "status", lambda _, ref: EngineStatus(ref.engine_key, state))
        world.on_demand.ensure = ensure  # type: ignore[method-assign]
        (await world.enter("m:plain", target="/props", streaming=streaming)).close()
        assert ensured == ([] if up else [("m:plain", streaming)])

    asyncio.run(main())


def test_an_engine_is_asked_with_its_own_key_and_the_clients_bytes() -> None:
    """Body and target byte for byte; the client's key and conversation stay behind."""

    async def main() -> None:
        world = World()
        entered = await world.enter(target="/v1/chat/completions?a=%2F&b=+")
        [request] = world.requests
        assert (request.method, request.url) == ("POST", "http://127.0.0.1:8001/v1/chat/completions?a=%2F&b=+")
        assert request.data == b'{"model": "m", "x": 1}'
        headers = {"accept": "*/*", "x-request-id": "r-1", "authorization": "Bearer our-key"}
        assert request.headers == headers | {"connection": "close", "content-type": "application/json"}
        assert (entered.response.status, entered.response.content_type, world.held) == (200, b"text/event-stream", 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("entry", "model", "key"),
    [
        (OTHER, "theirs", "Bearer their-key"),
        (AttachedEntry(url="http://other:9001/"), "m", None),
    ],
)
def test_an_attached_server_is_asked_by_its_own_name_and_key(entry: AttachedEntry, model: str, key: str | None) -> None:
    """No lease is taken for it; without a key of its own it gets none, and never the client's."""

    async def main() -> None:
        world = World(m=entry)
        (await world.enter()).close()
        [request] = world.requests
        assert request.url == "http://other:9001/v1/chat/completions"
        assert json.loads(request.data) == {"model": model, "x": 1}
        assert (request.headers.get("authorization"), world.held) == (key, 0)

    asyncio.run(main())


def test_an_answer_knows_what_decoded_it_and_in_what_company() -> None:
    """The count is of the moment in which the request was sent; of a server of others nothing is known."""

    async def main() -> None:
        world = World(o=OTHER, m=LOCAL)
        world.engine.speculation = Status("draft-simple", True, "draft-simple")
        destinations = [(await world.enter(name)).destination for name in ("m", "m", "o")]
        assert [(to.speculation and to.speculation.mode, to.in_flight) for to in destinations] == [
            ("draft-simple", 1),
            ("draft-simple", 2),
            (None, None),
        ]
        destinations[0].drafted()
        destinations[2].drafted()
        assert world.engine.verbs == ["drafted"]

    asyncio.run(main())


def test_a_get_has_no_body_to_exchange_a_name_in() -> None:
    """/props and /slots of an attached server."""

    async def main() -> None:
        world = World(m=OTHER)
        await world.enter(target="/slots?model=m", body=None)
        assert world.requests[0].data is None

    asyncio.run(main())


@pytest.mark.parametrize(("read", "ended"), [(True, "to the pool"), (False, "cut")])
def test_closing_gives_back_connection_and_lease(read: bool, ended: str) -> None:
    """A whole answer's connection is used again; half of one is cut, which is how llama-server learns to stop."""

    async def main() -> None:
        connection = Response(b"one", b"two")
        world = World(connection)
        entered = await world.enter()
        if read:
            assert await entered.response.read() == b"onetwo"
        assert (connection.ended, world.held) == ("", 1)
        entered.close()
        entered.close()
        assert (connection.ended, world.held) == (ended, 0)

    asyncio.run(main())


@pytest.mark.parametrize("outcome", [REFUSED, IncompleteResponseError("closed the connection"), ValueError("ours")])
def test_a_request_that_fails_holds_nothing(outcome: Exception) -> None:
    """Whatever it was: the place is free again."""

    async def main() -> None:
        world = World(outcome)
        with pytest.raises((UpstreamDiedError, UpstreamUnreachableError, ValueError)):
            await world.enter()
        assert world.held == 0

    asyncio.run(main())


def test_a_client_that_leaves_before_the_headers_holds_nothing() -> None:
    """Cancelled in the middle of a long prompt."""

    async def main() -> None:
        request_sent = asyncio.Event()

        async def never() -> None:
            request_sent.set()
            await asyncio.Event().wait()

        world = World(never)
        entering = asyncio.create_task(world.enter())
        await request_sent.wait()
        assert world.held == 1
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert world.held == 0

    asyncio.run(main())


def test_a_request_that_gets_no_place_asks_nobody() -> None:
    """The scheduler's word goes to the client as it is."""

    async def main() -> None:
        world = World()

        async def full(*_: Any) -> Lease:
            raise QueueTimeoutError("full")

        world.lease = full  # type: ignore[method-assign]
        with pytest.raises(QueueTimeoutError, match="full"):
            await world.enter()
        assert world.requests == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("diagnosis", "words", "verbs"),
    [
        (CRASHED, "cannot be reached: It was killed.", []),
        (None, "cannot be reached: Connection ref", ["unresponsive: our-key"] * 3),
    ],
)
def test_engines_that_cannot_be_reached_are_dead_or_given_up(
    diagnosis: Diagnosis | None, words: str, verbs: list[str]
) -> None:
    """A death is told; one that lives and takes no connection is reported to the supervisor. The third is the last."""

    async def main() -> None:
        world = World(REFUSED)
        world.engine.diagnosis = diagnosis
        with pytest.raises(UpstreamUnreachableError, match=words):
            await world.enter()
        assert (world.engine.verbs, len(world.requests), world.held) == (verbs, 3, 0)

    asyncio.run(main())


def test_a_request_that_no_engine_has_seen_goes_to_the_next_one() -> None:
    """Its engine was told to end by somebody else: nothing was asked, so nothing can come twice."""

    async def main() -> None:
        world = World(REFUSED)
        gone = world._unresponsive

        async def replaced(key: str | None) -> None:
            await gone(key)
            world.outcome = Response(b"data")

        world.engine.unresponsive = replaced
        entered = await world.enter()
        assert [chunk async for chunk in entered.response.chunks()] == [b"data"]
        entered.close()
        assert (world.engine.verbs, len(world.requests), world.held) == (["unresponsive: our-key"], 2, 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, "cannot be reached: Connection refused"),
        (
            IncompleteResponseError("closed the connection before it answered"),
            "closed the connection before it answered.",
        ),
        (TimeoutError(), "did not accept a connection within 5 s."),
    ],
)
def test_an_attached_server_that_fails_is_named_with_its_address(error: Exception, words: str) -> None:
    """Whoever reads it can look there."""

    async def main() -> None:
        world = World(error, m=OTHER)
        with pytest.raises((UpstreamDiedError, UpstreamUnreachableError)) as caught:
            await world.enter()
        assert "The server of 'm' at other:9001 " in str(caught.value)
        assert words in str(caught.value)
        assert len(world.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("diagnosis", "words"),
    [(CRASHED, "went down while it answered: It was killed."), (None, "ended its answer early.")],
)
def test_an_answer_that_breaks_off_says_why(diagnosis: Diagnosis | None, words: str) -> None:
    """What came before passes; the end is an error, never the end."""

    async def main() -> None:
        connection = Response(b"half", IncompleteResponseError("ended its answer early"))
        world = World(connection)
        world.engine.diagnosis = diagnosis
        entered = await world.enter()
        seen = []
        with pytest.raises(UpstreamDiedError, match=words):
            async for chunk in entered.response.chunks():
                seen.append(chunk)
        entered.close()
        assert (seen, world.held) == ([b"half"], 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("drafted", "plain", "state", "crossing", "chosen"),
    [
        (0, 0, EngineState.READY, 2, "m"),
        (1, 0, EngineState.READY, 2, "m:plain"),
        (0, 1, EngineState.READY, 2, "m:plain"),
        (3, 0, EngineState.STOPPED, 2, "m"),
        (3, 0, EngineState.READY, None, "m"),
    ],
)
def test_an_auto_alias_goes_by_load(
    drafted: int, plain: int, state: EngineState, crossing: int | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafted while few are in flight, plain beyond the measured crossing, if both are loaded."""
    statuses = {
        "m": EngineStatus("m", EngineState.READY, in_flight=drafted),
        "m:plain": EngineStatus("m:plain", state, in_flight=plain),
    }
    monkeypatch.setattr(World, "status", lambda _, ref: statuses[ref.name])
    world = World(m=LocalEntry.model_validate({"target": {"path": "/m.gguf"}, "speculation": "auto"}))
    world.router.crossings["m"] = crossing
    assert asyncio.run(world.enter("m")).destination.name == chosen
    assert asyncio.run(world.enter("m:plain")).destination.name == "m:plain"


def test_the_name_of_a_plain_variant_may_be_another_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither load nor log probabilities lead there."""
    monkeypatch.setattr(World, "status", lambda _, alias: EngineStatus(alias, EngineState.READY, in_flight=3))
    speculation = {"mode": "auto", "on_logprobs": "plain"}
    world = World(
        **{
            "m": LocalEntry.model_validate({"target": {"path": "/m.gguf"}, "speculation": speculation}),
            "m:plain": LOCAL,
        }
    )
    world.engine.speculation = Status("auto", True, "ngram-mod")
    world.router.crossings["m"] = 1
    assert asyncio.run(world.enter("m")).destination.name == "m"
    with pytest.raises(LogprobsRefusedError, match=r"drafted tokens\. Set on_logprobs to pass"):
        asyncio.run(world.opened(replace(world.call(), fields=Routing(logprobs=Raw(b"true")))))


CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}],"object":"chat.completion.chunk"}\n\n'
DONE = b"data: [DONE]\n\n"


def test_a_whole_answer_of_our_engine_is_asked_for_as_a_stream() -> None:
    """And is one in one piece when `enter` returns: JSON, of known length, the connection fit for the next request."""

    async def main() -> None:
        connection = Response(CHUNK[:9], CHUNK[9:], DONE)
        world = World(connection)
        entered = await world.enter(streaming=False)
        (request,) = world.requests
        assert json.loads(request.data) == {
            "model": "m",
            "x": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
        }
        assert request.headers["accept"] == "*/*"
        body = await entered.response.read()
        assert json.loads(body)["choices"][0]["message"]["content"] == "hi"
        assert (entered.response.status, entered.response.content_type) == (200, b"application/json")
        assert dict(entered.response.raw_headers) == {
            b"Content-Type": b"application/json; charset=utf-8",
            b"Content-Length": str(len(body)).encode(),
        }
        entered.close()
        assert (connection.ended, world.held) == ("to the pool", 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (Status("draft-simple", True, "draft-simple"), True),
        (Status("ngram-mod", False, "ngram-mod", "nothing has been drafted yet"), True),
        (Status("draft-simple", False, "none", "off"), False),
        (Status(), False),
    ],
)
def test_log_probabilities_are_refused_wherever_a_token_may_be_drafted(status: Status, refused: bool) -> None:
    """Speculation that only traffic can prove is wrong from its first drafted token on."""

    async def main() -> None:
        world = World()
        world.engine.speculation = status
        request = replace(world.call(), fields=Routing(logprobs=Raw(b"true")))
        if refused:
            with pytest.raises(LogprobsRefusedError, match="'m' decodes with"):
                await world.opened(request)
            assert (world.requests, world.held) == ([], 0)
        else:
            assert (await world.opened(request)).response.status == 200

    asyncio.run(main())


def test_streams_and_servers_of_others_are_asked_as_the_client_wrote() -> None:
    """Not a byte more."""

    async def main() -> None:
        for world, streaming in ((World(), True), (World(m=AttachedEntry(url="http://other:9001")), False)):
            (await world.enter(streaming=streaming)).close()
            assert world.requests[0].data == b'{"model": "m", "x": 1}'

    asyncio.run(main())


def test_an_error_inside_the_stream_is_the_answer() -> None:
    """With its own status."""

    async def main() -> None:
        error = b'{"error":{"code":500,"message":"Context size has been exceeded."}}'
        entered = await World(Response(CHUNK, b"data: " + error + b"\n\n")).enter(streaming=False)
        assert (entered.response.status, await entered.response.read()) == (500, error)

    asyncio.run(main())


def test_an_error_instead_of_the_stream_stays_as_it_is() -> None:
    """Status, headers and body."""

    async def main() -> None:
        connection = Response(b"words", status=400)
        entered = await World(connection).enter(streaming=False)
        assert (entered.response.status, entered.response.raw_headers, await entered.response.read()) == (
            400,
            connection.headers,
            b"words",
        )

    asyncio.run(main())


@pytest.mark.parametrize("end", [IncompleteResponseError("ended its answer early"), b"", b"data: {broken\n\n" + DONE])
def test_a_stream_without_its_end_is_no_answer(end: bytes | Exception) -> None:
    """Broken off, ended without [DONE], or not understood: nothing was promised yet, so the client gets a 502."""

    async def main() -> None:
        world = World(response := Response(CHUNK, end))
        with pytest.raises(UpstreamDiedError, match="ended its answer early"):
            await world.enter(streaming=False)
        assert response.ended and world.held == 0

    asyncio.run(main())


def test_a_client_that_leaves_a_whole_answer_cuts_its_stream() -> None:
    """That is how the engine learns of it; the lease comes back."""

    async def main() -> None:

        class Endless(Response):
            async def read(self) -> bytes:
                if not self._chunks:
                    await asyncio.Event().wait()
                return await super().read()

        world = World(response := Endless(CHUNK))
        entering = asyncio.ensure_future(world.enter(streaming=False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert (response.ended, world.held) == ("cut", 0)

    asyncio.run(main())


def test_an_answer_whose_end_was_held_back_is_asked_for_in_one_piece() -> None:
    """A limit came before the stop word was whole: the second request is the client's own."""

    async def main() -> None:
        body = b'{"model": "m", "stop": "abc"}'
        cut = b'data: {"choices":[{"index":0,"finish_reason":"length","delta":{}}]}\n\ndata: [DONE]\n\n'
        world = World(Response(cut))
        entered = await world.enter(streaming=False, body=body)
        assert [json.loads(request.data).get("stream") for request in world.requests] == [True, None]
        assert world.requests[1].data == body
        assert world.held == 1
        entered.close()
        assert world.held == 0

    asyncio.run(main())
