"""Which dialect a refusal is told in, by the path alone."""

import asyncio
from pathlib import Path

import pytest

from app.api.formats.select import ApiFormats
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, digest
from app.config.settings import Settings
from app.main import Gateway
from app.records.database import Database
from tests.support.asgi import ask

OPENAI, ANTHROPIC, RESPONSES, OLLAMA = "OpenAIFormat", "AnthropicFormat", "ResponsesFormat", "OllamaFormat"


@pytest.mark.parametrize(
    ("path", "api_format"),
    [
        ("/v1/chat/completions", OPENAI),
        ("/", OPENAI),
        ("/v1", OPENAI),
        ("/apix", OPENAI),
        ("/v1/messagesx", OPENAI),
        ("/v1/messages", ANTHROPIC),
        ("/messages/count_tokens", ANTHROPIC),
        ("/v1/v1/messages", ANTHROPIC),
        ("/v1/v1/responses", RESPONSES),
        ("/v1/messages/batches/x", ANTHROPIC),
        ("/responses", RESPONSES),
        ("/v1/responses/resp_1/cancel", RESPONSES),
        ("/api/chat", OLLAMA),
        ("/api/nothing", OLLAMA),
    ],
)
def test_a_path_has_a_dialect_whether_it_is_served_or_not(path: str, api_format: str) -> None:
    """So that a client can read why it got nothing."""
    assert type(ApiFormats().of(path)).__name__ == api_format


def test_refusals_before_and_behind_the_door_are_in_the_clients_words(tmp_path: Path) -> None:
    """No key, nothing there, a parameter that is none: in Anthropic's shape with both ids, in Ollama's, in OpenAI's."""
    KeyStore(Database(tmp_path)).add(ApiKey("k", digest("secret")))
    app = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path)).app
    for headers, status in (({}, 401), ({"x-api-key": "secret"}, 404)):
        answer = asyncio.run(ask(app, "POST", "/v1/messages/batches", headers=headers))
        assert (answer.status, answer["request-id"]) == (status, answer["x-request-id"])
        assert isinstance(answer.error["type"], str) and "code" not in answer.error
        answer = asyncio.run(ask(app, "GET", "/api/nothing", headers=headers))
        assert answer.status == status and isinstance(answer.error, str)
    answer = asyncio.run(ask(app, "GET", "/v1/models", headers={"x-api-key": "secret"}, query="variants=maybe"))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_parameter", "variants")
    assert answer.error["message"].startswith("'variants' must be true or false")


def test_a_body_for_ollamas_show_has_a_limit(tmp_path: Path) -> None:
    """The same as everywhere."""
    app = Gateway(Settings(state_dir=tmp_path, cache_dir=tmp_path, max_body_mb=0.001)).app
    answer = asyncio.run(ask(app, "POST", "/api/show", b" " * 2000))
    assert (answer.status, "max_body_mb" in answer.error) == (413, True)
