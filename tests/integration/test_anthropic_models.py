"""`/v1/models` as Anthropic's SDK reads it, and a WebSocket that is declined."""

import socket
from collections.abc import Callable

import anthropic
import pytest

from tests.support.gateway import Gateway

Make = Callable[..., Gateway]


def test_the_sdk_lists_models_page_by_page(make_gateway: Make) -> None:
    """Forwards, backwards, and one by any of its names; OpenAI's shape without the header."""
    entry = {"target": {"path": "model.gguf"}}
    gateway = make_gateway(models={"a": entry | {"aliases": ["claude-x"]}, "b": entry, "c": entry})
    with anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list(limit=2)] == ["a", "b", "c"]
        page = client.models.list(limit=2)
        assert (page.has_more, page.first_id, page.last_id) == (True, "a", "b")
        assert [model.id for model in client.models.list(before_id="c", limit=1).data] == ["b"]
        model = client.models.retrieve("claude-x")
        assert (model.type, model.id, model.display_name) == ("model", "claude-x", "a")
        with pytest.raises(anthropic.NotFoundError) as unknown:
            client.models.retrieve("nope")
        assert unknown.value.request_id and unknown.value.body["type"] == "error"  # type: ignore[index]
        with pytest.raises(anthropic.BadRequestError, match="after_id"):
            client.models.list(after_id="nope")
        with pytest.raises(anthropic.BadRequestError, match="limit"):
            client.models.list(limit=0)
    assert gateway.client.get("/v1/models").json()["object"] == "list"
    assert gateway.client.get("/v1/models/nope").json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/responses", "/responses"])
def test_a_websocket_is_declined_at_once(plain: Gateway, path: str) -> None:
    """426 with a body that says what to do; a plain GET is a 405 as before."""
    host, port = plain.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 426 ") and b"upgrade: HTTP/1.1" in answer
    assert b'"code":"websocket_not_supported"' in answer
    assert plain.client.get(path).status_code == 405
