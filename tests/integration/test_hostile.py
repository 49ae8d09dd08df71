"""Input that no client sends by accident: no 500 of ours, no hang, and nothing is held afterwards."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gateway import Gateway, eventually
from tests.support.golden import REQUESTS, Stage
from tests.support.hostile import FEW, bodies

ANSWER = '{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
PATHS = (*REQUESTS, "/v1/embeddings", "/tokenize", "/api/embed", "/api/show", "/v1/models", "/nowhere")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An attached server whose model has another name: every body is edited on its way."""
    made = Stage(tmp_path_factory.mktemp("hostile"), model="theirs")
    made.server.answer(200, ANSWER, cut=False, kind="application/json")
    yield made
    made.close()


def memory_of(gateway: Gateway) -> tuple[float, int]:
    """Requests in flight, and connections to servers behind the gateway."""
    port = int(gateway.url.rsplit(":", 1)[1])
    links = psutil.Process(gateway.process.pid).net_connections("tcp")
    upstream = [link for link in links if link.status == "ESTABLISHED" and link.laddr.port != port]
    return gateway.metric('in_flight{alias="m"}'), len(upstream)


@pytest.fixture(autouse=True)
def nothing_is_left(stage: Stage) -> Iterator[None]:
    yield
    assert stage.gateway.process.poll() is None
    eventually(lambda: memory_of(stage.gateway) == (0, 0))
    assert [line for line in stage.gateway.log if line.get("level") == "error"] == []


@FEW
@given(path=st.sampled_from(PATHS), body=bodies())
def test_bodies(stage: Stage, path: str, body: bytes) -> None:
    """Depth, size, keys written twice, half surrogates, and what is not JSON at all."""
    # Broken off may be a stream that was asked for, since the server answers in one piece.
    status, _ = ask(stage.gateway, path, body)
    assert status < 500


@FEW
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=300))
def test_bytes(stage: Stage, path: str, body: bytes) -> None:
    """Anything at all; what is no object is refused."""
    answer = stage.gateway.client.post(path, content=body)
    assert answer.status_code < 500 and (answer.status_code >= 400 or is_object(body))


def is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-_!#$%&'*+.^`|~0123456789", min_size=1, max_size=20)
NAMES = """
    x-request-id content-type accept accept-encoding authorization x-api-key connection origin te expect cookie
    x-conversation-id x-tandem-metrics content-encoding forwarded host
"""
KNOWN = st.sampled_from(NAMES.split())
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)


@FEW
@given(st.lists(st.tuples(TOKEN | KNOWN, VALUE), max_size=8))
def test_headers(stage: Stage, given: list[tuple[str, str]]) -> None:
    """Any name, any value, names that mean something among them."""
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
    lines = [f"{name}: {value}".encode("latin-1") for name, value in given if name not in ("content-length", "upgrade")]
    head = [b"POST /v1/chat/completions HTTP/1.1", *lines, b"content-length: %d" % len(body)]
    answer = raw(stage.gateway, b"\r\n".join([*head, b"", b""]) + body)
    assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 100")), answer[:200]


def raw(gateway: Gateway, data: bytes) -> bytes:
    """The first bytes of an answer to these; b"" where the connection ends."""
    with socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])), timeout=20) as client:
        client.sendall(data)
        return client.recv(65536)


def test_a_body_as_large_as_it_may_be(stage: Stage) -> None:
    """64 MiB of content, and of ones: both pass, in memory a few times over and no more."""
    before = highest(stage.gateway)
    for value in ('"' + "x" * (2**26 - 100) + '"', "[" + "1," * (2**25 - 100) + "1]"):
        body = f'{{"model":"m","messages":[{{"role":"user","content":"Hi"}}],"prompt":{value}}}'
        assert stage.gateway.client.post("/v1/completions", content=body).status_code == 200
        assert stage.gateway.chat().status_code == 200
    grown = highest(stage.gateway) - before
    print(f"{grown / 2**20:.0f} MiB more at the highest")
    assert grown < 8 * 2**26


def highest(gateway: Gateway) -> int:
    """The most memory that the gateway ever had, in bytes."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


STREAMS: dict[str, str] = {
    "/v1/chat/completions": 'data: {"choices":[{"delta":{"content":"Hé"}}]}\n\n: ping\n\ndata: [DONE]\n\n',
    "/v1/messages": 'data: {"choices":[{"delta":{"content":"Hé"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    "/api/chat": 'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
}


@pytest.mark.parametrize("path", STREAMS)
def test_an_answer_that_is_cut_at_any_point(stage: Stage, path: str) -> None:
    """In its head: a 502. Behind it: an error and a broken connection, never a clean end but at the end."""
    stage.server.answer(200, STREAMS[path], cut=False)
    whole = stage.server.script
    head = whole.index(b"\r\n\r\n") + 4
    body = json.dumps(REQUESTS[path] | {"model": "m", "stream": True}).encode()
    try:
        for end in range(len(whole) + 1):
            stage.server.script = whole[:end]
            status, broken = ask(stage.gateway, path, body)
            assert (status, broken) == ((502, False) if end < head else (200, end < len(whole))), (end, whole[:end])
    finally:
        stage.server.answer(200, ANSWER, cut=False, kind="application/json")


def ask(gateway: Gateway, path: str, body: bytes) -> tuple[int, bool]:
    """Status, and whether the answer was broken off."""
    with gateway.client.stream("POST", path, content=body) as answer:
        try:
            for _ in answer.iter_raw():
                pass
        except httpx2.RemoteProtocolError:
            return answer.status_code, True
        return answer.status_code, False
