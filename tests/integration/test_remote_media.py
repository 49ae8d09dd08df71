"""Remote media over real sockets: what the gateway refuses, and what it fetches in an engine's stead."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from app.errors import BodyTooLargeError, RemoteMediaFailedError, RemoteMediaRefusedError
from app.relay.request import media_fetch as fetch
from app.relay.request.body import routing
from app.relay.request.media import find
from app.relay.request.media_fetch import MediaFetcher
from tests.support.gateway import Gateway

Make = Callable[..., Gateway]
PIXEL = b"\x89PNG\r\n\x1a\n"


def chat(*urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": parts}]}


# -- the gateway ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("https://a.example/x.png")),
        ("/v1/chat/completions", chat("https://a.example/x.png") | {"stream": True}),
        ("/v1/responses", {"input": [{"content": [{"type": "input_image", "image_url": "http://a.example"}]}]}),
        ("/v1/messages", {"messages": [{"content": [{"source": {"type": "url", "url": "http://a.example"}}]}]}),
        ("/v1/messages/count_tokens", {"messages": [{"content": [{"source": {"url": "http://a.example"}}]}]}),
        ("/apply-template", chat("https://a.example/x.png")),
    ],
)
def test_without_a_listed_host_nothing_is_fetched(make_gateway: Make, path: str, body: dict[str, Any]) -> None:
    """A clear 400 in the API format's words, before an engine is even started; attached servers are treated alike."""
    gateway = make_gateway(models={"a": {"url": "http://127.0.0.1:9"}})
    answer = gateway.client.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "a.example" in error["message"] and "allow_remote_media" in error["message"]


def test_a_listed_host_within_a_private_network_stays_closed(make_gateway: Make) -> None:
    """Names and addresses of this machine, listed or not; who listens there is never connected to."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        port = inside.getsockname()[1]
        gateway = make_gateway(models={"m": {"url": "http://127.0.0.1:9"}}, allow_remote_media="*")
        for host in ("localhost", "127.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001"):
            answer = gateway.chat(**chat(f"http://{host}:{port}/x.png"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "remote_media_refused"), host
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_data_urls_pass_untouched(make_gateway: Make) -> None:
    """The request reaches the engine."""
    gateway = make_gateway()
    assert gateway.chat(**chat("data:image/png;base64,AAAA")).status_code == 200


# -- the fetcher, against a server on this machine that counts as public -----------------------------------------------


async def names(host: str, port: int) -> list[str]:
    """Every name is this machine, but `inside.example`, which is somewhere within a network as well."""
    if host == "10.0.0.1":
        return [host]
    return ["127.0.0.1", "10.0.0.1"] if host == "inside.example" else ["127.0.0.1"]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def fetched(handler: Handler, *urls: str, hosts: tuple[str, ...] = ("a.example",), largest: int = 1 << 30) -> Any:
    """The body that goes on, parsed; `PORT` in an address is the server's."""

    async def main() -> Any:
        server = web.Server(handler)
        runner = web.ServerRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        fetcher = MediaFetcher(hosts, may=lambda address: address == "127.0.0.1", resolve=names)
        body = json.dumps(chat(*urls)).replace("PORT", str(port)).encode()
        fields = routing(body)
        remote = find(fields.messages, input=fields.input)
        assert remote is not None
        try:
            return json.loads(await fetcher.fill(remote, body, largest=largest))
        finally:
            await runner.cleanup()

    return asyncio.run(main())


async def pixel(request: web.BaseRequest) -> web.Response:
    return web.Response(body=PIXEL, headers={"content-type": "image/png; x=1"})


def test_an_image_arrives_as_data() -> None:
    """Of the type that its server names; the client's headers and cookies stay here."""
    seen: list[Any] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(dict(request.headers))
        return await pixel(request)

    body = fetched(handler, "http://a.example:PORT/x.png", "http://a.example:PORT/x.png")
    urls = [part["image_url"]["url"] for part in body["messages"][0]["content"]]
    assert urls == ["data:image/png;base64,iVBORw0KGgo="] * 2
    [headers] = seen
    assert headers["Accept-Encoding"] == "identity" and "Cookie" not in headers


def answering(status: int = 200, kind: str = "image/png", body: bytes = PIXEL, **headers: str) -> Handler:
    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body, headers={"content-type": kind} | headers)

    return handler


@pytest.mark.parametrize(
    ("handler", "url", "words"),
    [
        (answering(404), "http://a.example:PORT/x?key=1", r"http://a.example/x answered 404"),
        (answering(kind="text/html"), "http://a.example:PORT/", "has the type text/html; it must be an image or audio"),
        (answering(body=b"x" * 5000), "http://a.example:PORT/", "larger than"),
        (answering(**{"content-encoding": "gzip"}), "http://a.example:PORT/", "is compressed"),
        (answering(302, location="/again"), "http://a.example:PORT/", "redirects more than 3 times"),
        (answering(302, location="http://a.example:x/"), "http://a.example:PORT/", "cannot be fetched"),
        (pixel, "http://a.example:1/", "cannot be fetched"),
    ],
)
def test_what_cannot_be_had_is_told(handler: Handler, url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address, but not what may be secret in it."""
    monkeypatch.setattr(fetch, "LARGEST", 4096)
    with pytest.raises(RemoteMediaFailedError, match=words) as caught:
        fetched(handler, url)
    assert "key=1" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://b.example/x", "add b.example to allow_remote_media"),
        ("http://10.0.0.1/", "add 10.0.0.1"),
        ("ftp://a.example/x", "not a URL that can be fetched"),
        ("http://inside.example/x", "private network"),
    ],
)
def test_a_redirect_is_looked_at_like_the_first_address(location: str, words: str) -> None:
    """Its host is to be listed, and its address public."""
    with pytest.raises(RemoteMediaRefusedError, match=words):
        fetched(answering(302, location=location), "http://a.example:PORT/", hosts=("a.example", "inside.example"))


def test_a_name_with_an_address_inside_is_a_trap() -> None:
    """Even where another of its addresses is public; what is an address by itself is looked at, too."""
    for url in ("http://inside.example:PORT/", "http://10.0.0.1:PORT/"):
        with pytest.raises(RemoteMediaRefusedError, match="private network"):
            fetched(pixel, url, hosts=("*",))


def test_a_redirect_to_a_listed_host_is_followed() -> None:
    """The media are those of where it leads."""

    async def handler(request: web.BaseRequest) -> web.Response:
        if request.path == "/":
            return web.Response(status=307, headers={"location": f"http://c.example:{request.url.port}/x.png"})
        return await pixel(request)

    body = fetched(handler, "http://a.example:PORT/", hosts=("*.example",))
    assert body["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png")


def test_slow_servers_and_many_addresses_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds for each, and a number for all of a request."""
    monkeypatch.setattr(fetch, "EACH_S", 0.2)

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "image/png"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.05)
        except (ConnectionError, aiohttp.ClientError):
            return response

    with pytest.raises(RemoteMediaFailedError, match="within"):
        fetched(slow, "http://a.example:PORT/")
    with pytest.raises(RemoteMediaRefusedError, match="17 media URLs"):
        fetched(pixel, *(f"http://a.example:PORT/{number}" for number in range(17)))


def test_a_body_may_not_outgrow_its_limit() -> None:
    """`max_body_mb` holds for what goes on as well."""
    with pytest.raises(BodyTooLargeError):
        fetched(answering(body=b"x" * 3000), "http://a.example:PORT/", largest=4000)
