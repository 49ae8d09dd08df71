"""Servers that others run: one body value exchanged, everything else as it came."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, events, eventually, fake_llama_server, header_only
from tests.support.ports import free_port

Make = Callable[..., Gateway]


class Upstream:
    """A fake llama-server that the test runs itself, as somebody else's."""

    def __init__(self, folder: Path, *flags: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        model = header_only(folder / "model.gguf")
        argv = [fake_llama_server(folder), "--model", model, "--port", str(port), "--alias", "theirs", *flags]
        self.process = subprocess.Popen(
            argv, env={"LLAMA_API_KEY": "their-key"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._up)

    def _up(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/health", trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False

    def last_request(self) -> Any:
        return httpx2.get(f"{self.url}/__last_request", trust_env=False).json()

    def entry(self, **more: Any) -> dict[str, Any]:
        return {"url": self.url, "api_key": "env:THEIR_KEY"} | more


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Callable[..., Upstream]]:
    made: list[Upstream] = []

    def make(*flags: str) -> Upstream:
        folder = tmp_path / f"upstream-{len(made)}"
        folder.mkdir()
        made.append(Upstream(folder, *flags))
        return made[-1]

    yield make
    for server in made:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


KEY = {"THEIR_KEY": "their-key"}


def test_only_the_models_name_is_exchanged(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """Every other byte of the body arrives as the client wrote it; the answer keeps the server's own name."""
    server = upstream()
    gateway = make_gateway(models={"a/b": server.entry(model="up/stream")}, env=KEY)
    body = b'{ "messages" : [{"role": "user", "content": "Hi"}],  "model" :"a/b", "x": {"model": "a/b"} }'
    answer = gateway.client.post("/v1/chat/completions?a=1", content=body, headers={"content-type": "application/json"})
    assert answer.json()["model"] == "theirs"
    seen = server.last_request()
    assert seen["body"].encode("latin-1") == body.replace(b'"model" :"a/b"', b'"model" :"up/stream"')
    assert seen["path"] == "/v1/chat/completions?a=1"


def test_clients_credentials_stay_here(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """The server sees its own key, never the client's, nor a header that would keep a generation alive."""
    server = upstream()
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    headers = {"authorization": "Bearer client", "x-api-key": "client", "cookie": "c=1", "x-conversation-id": "z"}
    answer = gateway.client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}, headers=headers
    )
    assert answer.status_code == 200
    seen = {name.lower(): value for name, value in dict(server.last_request()["headers"]).items()}
    assert seen["authorization"] == "Bearer their-key"
    assert not {"x-api-key", "cookie", "x-conversation-id"} & set(seen)


def test_stream_passes_byte_for_byte(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """What the gateway sends is what the server sent, ids and times of two runs aside."""
    server = upstream("--tokens", "40")
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "stream_options": {"include_usage": True}}
    direct = httpx2.post(
        f"{server.url}/v1/chat/completions", json=body, headers={"authorization": "Bearer their-key"}, trust_env=False
    )
    through = gateway.client.post("/v1/chat/completions", json=body)
    assert _stable(through.text) == _stable(direct.text)
    assert through.text.endswith("data: [DONE]\n\n")


def _stable(text: str) -> list[Any]:
    """Events without what differs between any two runs."""
    found: list[Any] = []
    for line in text.splitlines():
        if line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            found.append({key: value for key, value in event.items() if key not in ("id", "created", "timings")})
        else:
            found.append(line)
    return found


def test_down_server_is_a_502_with_its_host(make_gateway: Make) -> None:
    """Host and reason, for streams and others."""
    gateway = make_gateway(models={"a": {"url": "http://127.0.0.1:9"}})
    for answer in (gateway.chat("a"), gateway.chat("a", stream=True)):
        assert answer.status_code == 502
        assert "127.0.0.1:9" in answer.json()["error"]["message"]
        assert "Connection refused" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("env", "words"), [({"THEIR_KEY": "another"}, "Correct api_key"), (None, "Set api_key")])
def test_a_key_that_the_server_refuses_is_the_entrys(
    make_gateway: Make, upstream: Callable[..., Upstream], env: dict[str, str] | None, words: str
) -> None:
    """A 401 of the server's would send each client to look for the mistake in its own key; the log has it too."""
    server = upstream()
    entry = server.entry() if env else {"url": server.url}
    gateway = make_gateway(models={"a": entry}, env=env)
    for answer in (gateway.chat("a"), gateway.chat("a", stream=True), gateway.client.get("/slots?model=a")):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (502, "upstream_key_refused")
        assert words in error["message"]
        assert answer.headers["x-should-retry"] == "false" and "www-authenticate" not in answer.headers
    (line,) = eventually(lambda: gateway.logged("GET /slots"))
    assert line["level"] == "warning" and words in line["error"]


def test_server_that_dies_mid_stream(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """The same honesty as for our own engines."""
    server = upstream("--exit-after-tokens", "2", "--tps", "50")
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    parsed = []
    with pytest.raises(httpx2.RemoteProtocolError), gateway.stream("a") as stream:
        for event in events(stream):
            parsed.append(event)
    assert parsed[-1]["error"]["code"] == "upstream_died"


def test_server_that_hangs_before_headers_gets_company(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """A busy server sends no headers: after five seconds the client gets a comment, then the answer."""
    server = upstream("--prefill-seconds", "5.5")
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    with gateway.stream("a") as stream:
        parsed = list(events(stream))
    assert parsed[0].startswith(":")
    assert parsed[-1] == "[DONE]"


def test_attached_server_is_not_ours_to_stop(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """The gateway's end is not the server's."""
    server = upstream()
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    gateway.chat("a")
    assert gateway.terminate() == 0
    assert server.process.poll() is None
    os.kill(server.process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b"{nope", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b"[1]", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b'{"model": "no"}', 404, "model_not_found"),
        ("POST", "/v1/chat/completions", b"{}", 400, "model_required"),
        ("POST", "/v1/chat/completions", b" " * (2**20 + 1), 413, "body_too_large"),
        ("GET", "/v1/chat/completions", b"", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", b"", 405, "method_not_allowed"),
        ("GET", "/nothing/here", b"", 404, "not_found"),
        ("GET", "/v1/models/no/such", b"", 404, "model_not_found"),
        ("GET", "/slots?model=no", b"", 404, "model_not_found"),
    ],
)
def test_bad_input_is_answered_in_openais_shape(
    shared: Gateway, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    """message, type, param and code, whatever is wrong."""
    answer = shared.client.request(method, path, content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("field", ["model", "stream"])
def test_a_field_of_the_wrong_kind_is_named(shared: Gateway, field: str) -> None:
    """In `param`, where SDKs show it."""
    error = shared.client.post("/v1/chat/completions", json={field: 5}).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_body", field)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for the questions that change nothing."""
    models = {"a/b": {"url": "http://127.0.0.1:9", "aliases": ["ab"]}, "c": {"url": "http://127.0.0.1:9"}}
    gateway = Gateway(tmp_path_factory.mktemp("shared"), models=models, max_body_mb=1)
    yield gateway
    gateway.close()


def test_unknown_alias_names_those_that_exist(shared: Gateway) -> None:
    """A person can see what to ask for."""
    assert "'a/b', 'c', 'ab'" in shared.chat("nope").json()["error"]["message"]


def test_too_large_body_is_refused_before_it_is_read(shared: Gateway) -> None:
    """The answer comes on the Content-Length alone; not one byte of the body is needed."""
    with socket.create_connection(("127.0.0.1", int(shared.url.rsplit(":", 1)[1])), timeout=5) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n")
        assert b"413" in raw.recv(100)


def test_models_by_name_with_slashes(shared: Gateway) -> None:
    """Slashes as they are or encoded, aliases too; the row has the entry's own name."""
    for path in ("a/b", "a%2Fb", "ab"):
        assert shared.client.get(f"/v1/models/{path}").json()["id"] == "a/b"


def test_root_answers_head(shared: Gateway) -> None:
    """Clients probe with HEAD /."""
    assert shared.client.head("/").status_code == 200
    assert shared.client.get("/").json()["name"] == "llama-tandem"
    assert shared.client.get("/health").json() == {"status": "ok"}


def test_request_id_is_kept_or_made(shared: Gateway) -> None:
    """A sane one of the client's comes back and stands in the log; anything else gets a new one."""
    answer = shared.client.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert eventually(lambda: [line for line in shared.log if line.get("request_id") == "mine-1"])
    odd = shared.client.get("/v1/models", headers={"x-request-id": "a b\tc"})
    assert odd.headers["x-request-id"] != "a b\tc"


def test_openapi_page_names_what_is_relayed(shared: Gateway) -> None:
    """/docs and /openapi.json tell of relayed paths though FastAPI does not serve them."""
    paths = shared.client.get("/openapi.json").json()["paths"]
    assert "post" in paths["/v1/chat/completions"] and "get" in paths["/v1/models"]
    assert shared.client.get("/docs").status_code == 200


def test_concurrent_requests_do_not_mix(make_gateway: Make, upstream: Callable[..., Upstream]) -> None:
    """Thirty-two at once, each with its own id, each gets its own answer."""
    server = upstream("--parallel", "32")
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    wrong: list[str] = []

    def ask(number: int) -> None:
        for turn in range(5):
            name = f"r{number}-{turn}"
            answer = gateway.client.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "user", "content": "Hi"}]},
                headers={"x-request-id": name},
            )
            if answer.status_code != 200 or answer.headers["x-request-id"] != name:
                wrong.append(answer.text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/audio/transcriptions"])
def test_a_form_is_routed_by_its_model(make_gateway: Make, upstream: Callable[..., Upstream], path: str) -> None:
    """The file arrives as it is, under the server's own name for the model; the limit of size holds."""
    server = upstream()
    gateway = make_gateway(models={"a": server.entry(model="up"), "b": server.entry()}, env=KEY, max_body_mb=0.1)
    audio = bytes(range(256)) * 40
    gateway.client.post(path, data={"model": "a"}, files={"file": ("a.wav", audio, "audio/wav")})
    seen = server.last_request()
    assert seen["path"] == "/v1/audio/transcriptions"
    assert seen["headers"]["content-type"].startswith("multipart/form-data")
    body = seen["body"].encode("latin-1")
    assert audio in body and b'name="model"\r\n\r\nup\r\n' in body
    answer = gateway.client.post(path, data={"model": "nope"}, files={"file": audio})
    assert answer.status_code == 404
    answer = gateway.client.post(path, data={"model": "a"}, files={"file": audio * 12})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/completions", "/v1/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"),
        ("/v1/tokenize", "/tokenize"),
        ("/completion", "/completion"),
    ],
)
def test_with_and_without_v1(make_gateway: Make, upstream: Callable[..., Upstream], asked: str, target: str) -> None:
    """The server is asked by the name that it knows."""
    server = upstream()
    gateway = make_gateway(models={"a": server.entry()}, env=KEY)
    body = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "content": "x", "max_tokens": 1}
    assert gateway.client.post(f"{asked}?a=1", json=body).status_code == 200
    assert server.last_request()["path"] == f"{target}?a=1"


@pytest.mark.parametrize(
    ("path", "body", "sent"),
    [
        ("/v1/chat/completions", {}, {"max_tokens": 50, "temperature": 0.5}),
        ("/v1/chat/completions", {"max_completion_tokens": 900}, {"max_completion_tokens": 50, "temperature": 0.5}),
        ("/v1/messages", {"max_tokens": 20, "temperature": 1}, {"max_tokens": 20, "temperature": 1}),
        ("/v1/responses", {"top_k": 4}, {"max_tokens": 50, "temperature": 0.5}),
        ("/api/chat", {"options": {"num_predict": -1, "top_k": 4}}, {"max_tokens": 50, "temperature": 0.5}),
        ("/api/generate", {"options": {"num_predict": 7, "temperature": 0}}, {"max_tokens": 7, "temperature": 0}),
        ("/api/generate", {"suffix": "x", "options": {"num_predict": 900}}, {"n_predict": 50, "temperature": 0.5}),
    ],
)
def test_an_entrys_request_holds_on_every_surface(
    make_gateway: Make, upstream: Callable[..., Upstream], path: str, body: dict[str, Any], sent: dict[str, Any]
) -> None:
    """Each API's own name for the limit; Ollama's options too."""
    server = upstream()
    request = {"defaults": {"temperature": 0.5}, "max_tokens": 50, "drop": ["top_k"], "fixed": {"seed": 3}}
    gateway = make_gateway(models={"a": server.entry(request=request)}, env=KEY)
    common = {"messages": [{"role": "user", "content": "x"}], "input": "x", "prompt": "x", "stream": False}
    gateway.client.post(path, json=common | body)
    seen = json.loads(server.last_request()["body"].encode("latin-1"))
    limits = {"max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "temperature", "top_k"}
    assert {name: value for name, value in seen.items() if name in limits} == sent
    assert seen["seed"] == 3
