"""Bodies, paths and versions of HTTP as clients send them that join a URL by hand or compress what they say."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, header_only

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("wire")
    models = {"m": {"target": {"path": str(header_only(folder / "model.gguf"))}}}
    gateway = Gateway(folder, models=models, max_body_mb=2)
    yield gateway
    gateway.close()


def bare_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "zstd": zstd.compress,
    "deflate": zlib.compress,
    "Deflate": bare_deflate,
}


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/completions", "/api/chat", "/v1/chat/completions/input_tokens", "/tokenize"]
)
@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_compressed_body_is_the_same_request(gateway: Gateway, encoding: str, path: str) -> None:
    body = json.dumps(ASKED | {"prompt": "Hello", "input": "Hello", "content": "Hello"}).encode()
    plain = gateway.client.post(path, content=body)
    headers = {"content-encoding": encoding}
    answer = gateway.client.post(path, content=ENCODERS[encoding](body), headers=headers)
    assert answer.status_code == plain.status_code == 200, answer.text
    in_pieces = ENCODERS[encoding](body)
    pieces = (in_pieces[at : at + 7] for at in range(0, len(in_pieces), 7))
    assert gateway.client.post(path, content=pieces, headers=headers).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_a_bomb_is_refused_at_the_limit(gateway: Gateway, encoding: str) -> None:
    bomb = ENCODERS[encoding](json.dumps(ASKED).encode() + b" " * 200 * 2**20)
    answer = gateway.client.post(CHAT, content=bomb, headers={"content-encoding": encoding})
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_what_is_no_such_data_is_told_by_name(gateway: Gateway, encoding: str) -> None:
    whole = ENCODERS[encoding](json.dumps(ASKED).encode())
    for body, words in (
        (b"\x07{}", f"not valid {encoding}"),
        (whole[:-3], f"ends before its {encoding} data"),
        (whole + b"more", f"after the end of its {encoding} data"),
        (b"", "empty"),
    ):
        answer = gateway.client.post(CHAT, content=body, headers={"content-encoding": encoding})
        assert answer.status_code == 400 and words in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress"])
def test_another_encoding_is_refused_by_name(gateway: Gateway, encoding: str) -> None:
    answer = gateway.client.post(CHAT, content=b"{}", headers={"content-encoding": encoding})
    assert answer.status_code == 415 and answer.headers["accept-encoding"] == "gzip, deflate, zstd"
    assert repr(encoding) in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, "/api/chat", "/v1/messages"])
def test_text_that_engines_do_not_read_is_mended_or_told_with_its_place(gateway: Gateway, path: str) -> None:
    body = json.dumps(ASKED).encode()
    for taken in (b"\xef\xbb\xbf" + body, body.replace(b"Hello", rb"\ud83d Hello"), body.replace(b"lo", rb"\udE00")):
        assert gateway.client.post(path, content=taken).status_code == 200
    answer = gateway.client.post(path, content=body.replace(b"Hello", b"H\xe4llo"))
    assert answer.status_code == 400 and "0xe4 at offset" in answer.text
    answer = gateway.client.post(path, content=json.dumps(ASKED).encode("utf-16"))
    assert answer.status_code == 400 and "UTF-16" in answer.text


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/m", "/health", "/metrics", "/api/tags", "/api/version", "/props", "/slots", "/"]
)
def test_head_is_a_get_without_a_body(gateway: Gateway, path: str) -> None:
    gateway.chat()
    head, get = gateway.client.head(path), gateway.client.get(path)
    assert head.status_code == get.status_code == 200 and head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    assert gateway.client.head("/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["//v1/models", "/v1/models/", "/v1//models", "//v1///models//", "/v1/models/m/"])
def test_slashes_too_many_are_no_other_path(gateway: Gateway, path: str) -> None:
    assert gateway.client.get(gateway.url + path).status_code == 200


def test_slashes_open_no_door(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    assert gateway.client.post(CHAT + "/", json=ASKED).status_code == 200
    assert gateway.client.post(f"{gateway.url}//slots//0/?action=erase&model=m").status_code == 401
    assert gateway.client.get(f"{gateway.url}//admin//engines/").status_code in (401, 403)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/v1/chat/completions", "/v1 twice: use /v1/chat/completions"),
        ("/v1/v1/models", "/v1 twice: use /v1/models"),
        (
            "/v1/chat/completions/v1/chat/completions",
            "Remove /v1/chat/completions from the base URL: use /v1/chat",
        ),
        ("/openai/v1/messages", "Remove /openai from the base URL: use /v1/messages"),
        ("/v1/api/chat", "Remove /v1 from the base URL: use /api/chat"),
    ],
)
def test_a_base_url_that_is_wrong_is_named(gateway: Gateway, path: str, words: str) -> None:
    message = gateway.client.post(path, json=ASKED).json()["error"]["message"]
    assert words in message


def spoken(gateway: Gateway, text: str) -> bytes:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(text.encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_gets_no_chunks(gateway: Gateway, stream: bool) -> None:
    body = json.dumps(ASKED | {"stream": stream})
    answer = spoken(
        gateway,
        f"POST {CHAT} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}",
    )
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower() and b"connection: close" in head.lower()
    if stream:
        assert text.startswith(b"data: ") and text.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(text)["choices"]
    for path in ("/v1/models", "/health", "/metrics"):
        head, _, text = spoken(gateway, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and b"chunked" not in head and text
