"""llama-server's errors as clients of each API see them."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "x"}],
    "input": "x",
    "max_tokens": 8,
}


def last_event(gateway: Gateway, path: str) -> tuple[str, Any]:
    """Name and data of the last event; the connection must break after it."""
    lines: list[str] = []
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        gateway.client.stream("POST", path, json=BODY | {"stream": True}) as answer,
    ):
        lines.extend(answer.iter_lines())
    data = [line for line in lines if line.startswith("data: ")][-1]
    before = lines[lines.index(data) - 1]
    return before, json.loads(data.removeprefix("data: "))


def test_an_error_in_a_stream_has_the_surfaces_form(make_gateway: Make) -> None:
    """llama-server's own ends cleanly, with a numeric code, and in its own dialect whoever asks."""
    gateway = make_gateway(args=["--error-after-tokens", "2"])
    _, found = last_event(gateway, "/v1/chat/completions")
    assert found["error"] == {
        "message": "Context size has been exceeded.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    name, found = last_event(gateway, "/v1/messages")
    assert (name, found["type"], found["error"]["type"]) == ("event: error", "error", "api_error")
    name, found = last_event(gateway, "/v1/responses")
    assert (name, found["type"]) == ("event: error", "error")
    assert eventually(lambda: gateway.metric('requests_total{alias="m",status="502"}') == 3)


def test_a_bad_requests_500_is_a_400(make_gateway: Make) -> None:
    """Streamed or not, with the API format's body and the request's id."""
    message = "Failed to parse messages: Missing 'role' in message: {}"
    gateway = make_gateway(args=["--fail-status", "500", "--fail-message", message])
    for stream in (False, True):
        answer = gateway.chat(stream=stream)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, None)
        answer = gateway.client.post("/v1/messages", json=BODY | {"stream": stream})
        assert (answer.status_code, answer.json()["type"]) == (400, "error")
        assert answer.headers["request-id"] == answer.headers["x-request-id"]


def test_good_answers_to_anthropics_clients_carry_their_id(plain: Gateway) -> None:
    """`request-id`, whole and streamed."""
    for stream in (False, True):
        answer = plain.client.post("/v1/messages", json=BODY | {"stream": stream}, headers={"x-request-id": "r-7"})
        assert (answer.status_code, answer.headers["request-id"]) == (200, "r-7")
