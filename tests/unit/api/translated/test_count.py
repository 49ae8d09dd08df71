"""Tokens of a prompt, counted by whatever a server has for it."""

import asyncio
import json
from typing import Any

import pytest

from app.api.messages.relay import MessagesRelay
from app.api.translated.count import TokenCounter
from app.auth.guard import KEY
from app.auth.keys import ApiKey
from app.config.model_entry import AttachedEntry
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.relay.request.parse import CallReader

CHAT = "/v1/chat/completions/input_tokens"
BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "stream": True}


class Server:
    """What stands behind a relay: answers by path, 404 for others."""

    def __init__(self, answers: dict[str, tuple[int, Any]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any], Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any, *, api_format: Any, request_id: str) -> None:
        key = scope.get(KEY)
        message = await receive()
        self.asked.append((scope["path"], json.loads(message["body"]), key))
        status, body = self.answers.get(scope["path"], (404, {"error": {"message": "File Not Found"}}))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode(), "more_body": False})


def count(server: Server, **entry: Any) -> tuple[int, Any]:
    """Status and body of what the client gets."""
    settings = Settings(models={"m": AttachedEntry(url="http://127.0.0.1:1", **entry)})
    calls = CallReader(Catalog(settings), max_body=1 << 20)
    relay: Any = server
    server.max_body = 1 << 20  # type: ignore[attr-defined]
    counter = TokenCounter(relay, MessagesRelay(relay, calls), {"more": 1})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}

    key = ApiKey("k", b"digest", rpm=1, tpm=1, concurrency=1)
    scope = {"method": "POST", "path": "/v1/messages/count_tokens", "headers": [], "query_string": b"", KEY: key}
    asyncio.run(counter(scope, receive, send, request_id="r-1"))
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


def test_llama_servers_own_count_is_asked_first() -> None:
    """About the chat completion, without what says how to answer."""
    server = Server({CHAT: (200, {"input_tokens": 7})})
    assert count(server) == (200, {"input_tokens": 7, "more": 1})
    [(path, body, _)] = server.asked
    assert (path, body) == (CHAT, {"messages": BODY["messages"], "model": "m"})


@pytest.mark.parametrize("status", [404, 405, 501])
def test_builds_without_it_render_and_count(status: int) -> None:
    """Two more questions, which the key's limits do not count."""
    server = Server(
        {
            CHAT: (status, {}),
            "/apply-template": (200, {"prompt": "<s>x"}),
            "/tokenize": (200, {"tokens": [1, 2, 3]}),
        }
    )
    assert count(server) == (200, {"input_tokens": 3, "more": 1})
    _, (_, rendered, key), (_, tokenized, _) = server.asked
    assert rendered["messages"] == BODY["messages"]
    assert (tokenized["content"], tokenized["add_special"], tokenized["parse_special"]) == ("<s>x", True, True)
    assert (key.name, key.rpm, key.tpm, key.concurrency) == ("k", None, None, None)


def test_vllm_counts_messages() -> None:
    """Where nothing renders a template."""
    assert count(Server({"/tokenize": (200, {"count": 5, "max_model_len": 9})})) == (
        200,
        {"input_tokens": 5, "more": 1},
    )


def test_a_server_that_counts_nothing_is_named() -> None:
    """501 in the client's own format, with what is missing."""
    status, body = count(Server({}))
    assert (status, body["type"]) == (501, "error")
    assert "/apply-template" in body["error"]["message"]


def test_other_refusals_pass() -> None:
    """A prompt that is too long, an engine that loads."""
    assert count(Server({CHAT: (400, {"type": "error"})})) == (400, {"type": "error"})


def test_a_server_that_speaks_the_api_counts_itself() -> None:
    """`apis` of its entry."""
    server = Server({"/v1/messages/count_tokens": (200, {"input_tokens": 4})})
    assert count(server, apis=["messages"]) == (200, {"input_tokens": 4})
    assert server.asked[0][1] == BODY
