"""Ollama's own client against real engines: chat, generate, embed, list, show, ps."""

import asyncio
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.conformance.conversation import ANSWER, ASKED, CITIES, SAID, SCHEMA, SHOWN, TOOL, openai_tool, question
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, EMBEDDER, SPEAKER

FEW: Any = {"num_predict": 8, "temperature": 0}


def talk() -> list[dict[str, Any]]:
    """The same talk as elsewhere: Ollama's calls have no ids, and their arguments are objects."""
    messages: list[dict[str, Any]] = []
    for city in SHOWN:
        messages += [
            {"role": "user", "content": question(city)},
            {"role": "assistant", "tool_calls": [{"function": {"name": TOOL, "arguments": {"city": city}}}]},
            {"role": "tool", "tool_name": TOOL, "content": ANSWER},
        ]
    return [*messages, {"role": "user", "content": question(ASKED)}]


@pytest.fixture
def client(real: Gateway) -> Iterator[ollama.Client]:
    with ollama.Client(host=real.url, timeout=60) as made:
        yield made


def test_chat(client: ollama.Client) -> None:
    """Whole and in pieces, with what people count tokens per second from."""
    whole = client.chat(model=CHAT, messages=SAID, options=FEW)
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "length", 8)
    assert whole.message.content and whole.eval_duration and whole.prompt_eval_count
    pieces = list(client.chat(model=CHAT, messages=SAID, options=FEW, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_chat_of_an_async_client(real: Gateway) -> None:
    """A stream, read to its end."""

    async def main() -> str:
        client = ollama.AsyncClient(host=real.url)
        try:
            stream: Any = await client.chat(model=CHAT, messages=SAID, options=FEW, stream=True)
            return "".join([piece.message.content or "" async for piece in stream])
        finally:
            await client.close()

    assert asyncio.run(main())


def test_generate(client: ollama.Client) -> None:
    """Through the chat template and raw, whole and in pieces."""
    for raw in (False, True):
        whole = client.generate(model=CHAT, prompt="Once", raw=raw, options=FEW)
        stream = client.generate(model=CHAT, prompt="Once", raw=raw, options=FEW, stream=True)
        assert "".join(piece.response for piece in stream) == whole.response != ""


def test_a_format(client: ollama.Client) -> None:
    """A JSON schema holds the answer to it."""
    answer = client.chat(model=CHAT, messages=SAID, format=SCHEMA, options={"num_predict": 200})
    assert any(city in (answer.message.content or "") for city in CITIES)


def test_tools(client: ollama.Client, speaking: Gateway) -> None:
    """A call with its arguments as an object."""
    for stream in (False, True):
        asked: Any = client.chat(
            model=SPEAKER, messages=talk(), tools=[openai_tool()], stream=stream, options={"num_predict": 60}
        )
        calls = [call for part in (asked if stream else [asked]) for call in part.message.tool_calls or []]
        assert [(call.function.name, call.function.arguments) for call in calls] == [(TOOL, {"city": ASKED})]


def test_embed(client: ollama.Client) -> None:
    """Several texts, one text, and the older call."""
    found = client.embed(model=EMBEDDER, input=["one", "two"])
    assert [len(vector) for vector in found.embeddings] == [64, 64]
    assert len(client.embed(model=EMBEDDER, input="one").embeddings) == 1
    assert len(client.embeddings(model=EMBEDDER, prompt="one").embedding) == 64


def test_models(client: ollama.Client) -> None:
    """Listed, shown and running."""
    assert {CHAT, EMBEDDER} <= {model.model for model in client.list().models}
    shown = client.show(CHAT)
    assert shown.modelinfo is not None and shown.modelinfo["llama.context_length"] == 2048
    assert shown.capabilities is not None and "completion" in shown.capabilities
    client.generate(model=CHAT)  # without a prompt: load it
    assert CHAT in {model.model for model in client.ps().models}


def test_errors(client: ollama.Client) -> None:
    """One text and a status, before a stream begins as well."""
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as unknown:
            list(client.chat(model="nope", messages=SAID, stream=stream))
        assert unknown.value.status_code == 404 and "'nope'" in unknown.value.error
        with pytest.raises(ollama.ResponseError, match="exceeds the available context size"):
            list(client.chat(model=CHAT, messages=[{"role": "user", "content": "word " * 4000}], stream=stream))
