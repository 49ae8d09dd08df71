"""openai-python against real engines: whole, streamed, sync and async, tools, structured output, embeddings."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.conformance.conversation import ASKED, CITIES, SAID, TOOL, openai_messages, openai_tool
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, EMBEDDER, SPEAKER

MESSAGES: Any = SAID


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


@pytest.fixture(params=["/v1", ""], ids=["v1", "root"])
def client(real: Gateway, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    """With the base URL as it should be, and as people write it."""
    with openai.OpenAI(base_url=real.url + request.param, api_key="none", max_retries=0, timeout=60) as made:
        yield made


def test_a_whole_answer(client: openai.OpenAI) -> None:
    """Text up to its limit, usage that adds up, the name as it was asked for, an id of the request."""
    answer = client.chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=8)
    choice = answer.choices[0]
    assert choice.message.content and choice.message.role == "assistant"
    assert (choice.finish_reason, answer.model, answer.object) == ("length", CHAT, "chat.completion")
    assert answer.usage is not None and answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8
    assert answer._request_id


def test_a_stream(client: openai.OpenAI) -> None:
    """Deltas, one finish reason, usage at the end, and llama-server's timings where SDKs keep what they do not know."""
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(
        model=CHAT, messages=MESSAGES, max_tokens=8, stream=True, stream_options=options
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == ["length"]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 8
    assert any("timings" in (chunk.model_extra or {}) for chunk in chunks)


def test_several_choices_and_a_stop_word(client: openai.OpenAI) -> None:
    """`n` answers, each with its index; an answer ends before the word."""
    answer = client.chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=4, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    whole = client.chat.completions.create(model=CHAT, messages=MESSAGES, max_tokens=16, temperature=0)
    text = whole.choices[0].message.content or ""
    stopped = client.chat.completions.create(
        model=CHAT, messages=MESSAGES, max_tokens=16, temperature=0, stop=[text[6]]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == text.partition(text[6])[0]


def test_async_clients_side_by_side(real: Gateway) -> None:
    """More at once than the engine has slots; each stream comes whole."""

    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0) as client:

            async def one() -> str:
                stream = await client.chat.completions.create(
                    model=CHAT, messages=MESSAGES, max_tokens=12, stream=True, temperature=0
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

            return await asyncio.gather(*(one() for _ in range(6)))

    texts = asyncio.run(main())
    assert texts[0] and len(set(texts)) == 1


def test_structured_output(client: openai.OpenAI) -> None:
    """`parse` gives an object of the class, whole and streamed."""
    whole = client.chat.completions.parse(model=CHAT, messages=MESSAGES, response_format=Place, max_tokens=200)
    assert whole.choices[0].message.parsed is not None and whole.choices[0].message.parsed.city in CITIES
    with client.chat.completions.stream(model=CHAT, messages=MESSAGES, response_format=Place, max_tokens=200) as stream:
        last = stream.get_final_completion()
    assert last.choices[0].message.parsed is not None and last.choices[0].message.parsed.city in CITIES


def test_tool_calls(client: openai.OpenAI, speaking: Gateway) -> None:
    """A call with id, name and arguments, whole and in pieces that the SDK puts together."""
    body: Any = {"model": SPEAKER, "messages": openai_messages(), "tools": [openai_tool()], "max_tokens": 60}
    whole = client.chat.completions.create(**body)
    assert whole.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(**body) as stream:
        streamed = stream.get_final_completion()
    for answer in (whole, streamed):
        [call] = answer.choices[0].message.tool_calls or []
        assert call.type == "function" and call.id and call.function.name == TOOL
        assert json.loads(call.function.arguments) == {"city": ASKED}


def test_a_prefilled_call_is_whole(client: openai.OpenAI, speaking: Gateway) -> None:
    """The arguments that the client has begun are part of the call, as whole answers have them."""
    begun = f'<tool_call>\n{{"name": "{TOOL}", "arguments": {{"city": "{ASKED[:2]}'
    body: Any = {
        "model": SPEAKER,
        "messages": [*openai_messages(), {"role": "assistant", "content": begun}],
        "tools": [openai_tool()],
        "max_tokens": 60,
        "extra_body": {"continue_final_message": True, "add_generation_prompt": False},
    }
    whole = client.chat.completions.create(**body)
    with client.chat.completions.stream(**body) as stream:
        streamed = stream.get_final_completion()
    for answer in (whole, streamed):
        [call] = answer.choices[0].message.tool_calls or []
        assert call.type == "function" and json.loads(call.function.arguments)["city"].startswith(ASKED[:2])


def test_completions(client: openai.OpenAI) -> None:
    """The older endpoint, whole, streamed, and with the probabilities of its tokens."""
    whole = client.completions.create(model=CHAT, prompt="Once", max_tokens=6, temperature=0)
    stream = client.completions.create(model=CHAT, prompt="Once", max_tokens=6, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text != ""
    assert client.completions.create(model=CHAT, prompt="Once", max_tokens=2, logprobs=2).choices[0].logprobs


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(client: openai.OpenAI, encoding: Any) -> None:
    """Several texts in order, in both encodings; base64 is what the SDK asks for by itself."""
    found = client.embeddings.create(model=EMBEDDER, input=["one", "two"], encoding_format=encoding)
    assert [row.index for row in found.data] == [0, 1]
    alone = client.embeddings.create(model=EMBEDDER, input="two")
    assert len(alone.data[0].embedding) == 64 and found.data[0].embedding != found.data[1].embedding
    if encoding == "float":
        assert alone.data[0].embedding == pytest.approx(found.data[1].embedding, abs=1e-3)


def test_responses(client: openai.OpenAI) -> None:
    """Whole, and streamed up to `response.incomplete`, since the limit cuts them."""
    whole = client.responses.create(model=CHAT, input="Hello", max_output_tokens=6)
    assert whole.output_text and whole.usage is not None and whole.usage.output_tokens == 6
    assert whole.incomplete_details is not None and whole.incomplete_details.reason == "max_output_tokens"
    kinds, text = [], ""
    for event in client.responses.create(model=CHAT, input="Hello", max_output_tokens=6, stream=True):
        kinds.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
    assert (kinds[0], kinds[-1]) == ("response.created", "response.incomplete")
    assert text


def test_models(client: openai.OpenAI) -> None:
    """Listed and retrieved by their names, none of them loaded for it."""
    assert {CHAT, EMBEDDER} <= {row.id for row in client.models.list()}
    row = client.models.retrieve(CHAT)
    assert (row.id, (row.model_extra or {})["context_length"]) == (CHAT, 2048)


def test_errors(client: openai.OpenAI) -> None:
    """The SDK's own exceptions, with code and param; a prompt that is too long keeps its numbers."""
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nope", messages=MESSAGES)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    for stream in (False, True):
        long: Any = [{"role": "user", "content": "word " * 4000}]
        with pytest.raises(openai.BadRequestError) as overflow:
            client.chat.completions.create(model=CHAT, messages=long, stream=stream)
        assert overflow.value.code == "context_length_exceeded"
        body: Any = overflow.value.body
        assert body["n_prompt_tokens"] > body["n_ctx"] > 0
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=CHAT, messages=[{"content": "no role"}])  # type: ignore[list-item,typeddict-item]
