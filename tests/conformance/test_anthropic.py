"""anthropic's SDK against real engines: messages, streams, tools, token counts, errors."""

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import pytest
from pydantic import BaseModel

from tests.conformance.conversation import ANSWER, ASKED, CITIES, DESCRIPTION, SAID, SCHEMA, SHOWN, TOOL, question
from tests.support.gateway import Gateway, eventually
from tests.support.small_models import CHAT, SPEAKER

MESSAGES: Any = SAID
TOOL_PARAM: Any = {"name": TOOL, "description": DESCRIPTION, "input_schema": SCHEMA}


def talk() -> Any:
    """The same talk as elsewhere, in blocks of content."""
    messages: list[dict[str, Any]] = []
    for city in SHOWN:
        call = {"type": "tool_use", "id": f"call-{city}", "name": TOOL, "input": {"city": city}}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": ANSWER}
        messages += [
            {"role": "user", "content": question(city)},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]
    return [*messages, {"role": "user", "content": question(ASKED)}]


@pytest.fixture
def client(real: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=real.url, api_key="none", max_retries=0, timeout=60) as made:
        yield made


def test_a_message(client: anthropic.Anthropic) -> None:
    """Text, stop reason, usage, and the id of the request in the header that the SDK reads."""
    answer = client.messages.create(model=CHAT, messages=MESSAGES, max_tokens=8, system="Be brief.")
    [block] = answer.content
    assert block.type == "text" and block.text
    assert (answer.type, answer.role, answer.model, answer.stop_reason) == ("message", "assistant", CHAT, "max_tokens")
    assert answer.usage.output_tokens == 8 and answer.usage.input_tokens > 0
    assert answer._request_id


def test_a_stream(client: anthropic.Anthropic) -> None:
    """Named events from `message_start` to `message_stop`, which the SDK makes the whole message of."""
    with client.messages.stream(model=CHAT, messages=MESSAGES, max_tokens=8) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert message.content[0].type == "text" and message.content[0].text
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 8)


def test_tokens_in_are_counted(client: anthropic.Anthropic, real: Gateway) -> None:
    """By the gateway, for its limits and its usage: those out of the cache too, whole and streamed."""
    counter = f'prompt_tokens_total{{alias="{CHAT}"}}'
    prompt = client.messages.count_tokens(model=CHAT, messages=MESSAGES).input_tokens
    before = real.metric(counter)
    for stream in (False, True):
        answer: Any = client.messages.create(model=CHAT, messages=MESSAGES, max_tokens=2, stream=stream)
        if stream:
            list(answer)
    assert eventually(lambda: real.metric(counter) - before == 2 * prompt)


def test_an_async_beta_stream(real: Gateway) -> None:
    """`?beta=true` and a beta header that nobody here knows change nothing."""

    async def main() -> str:
        betas = ["unheard-of-2026-01-01"]
        async with (
            anthropic.AsyncAnthropic(base_url=real.url, api_key="none", max_retries=0) as client,
            client.beta.messages.stream(model=CHAT, messages=MESSAGES, max_tokens=4, betas=betas) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(main())


def test_tool_use(client: anthropic.Anthropic, speaking: Gateway) -> None:
    """A call as a block with its input, whole and streamed."""
    body: Any = {"model": SPEAKER, "messages": talk(), "tools": [TOOL_PARAM], "max_tokens": 60}
    with client.messages.stream(**body) as stream:
        streamed = stream.get_final_message()
    for answer in (client.messages.create(**body), streamed):
        [call] = [block for block in answer.content if block.type == "tool_use"]
        assert (call.name, call.input, answer.stop_reason) == (TOOL, {"city": ASKED}, "tool_use")
        assert call.id


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


def test_answers_are_parsed(client: anthropic.Anthropic) -> None:
    """Random weights keep to the schema: the engine holds them to it."""
    body: Any = {"model": CHAT, "messages": MESSAGES, "max_tokens": 40, "output_format": Place}
    parsed = client.messages.parse(**body).parsed_output
    assert parsed is not None and parsed.city in CITIES
    with client.messages.stream(**body) as stream:
        parsed = stream.get_final_message().parsed_output
    assert parsed is not None and parsed.city in CITIES


def test_the_word_that_ended_an_answer_is_told(client: anthropic.Anthropic) -> None:
    """Whole and streamed."""
    body: Any = {"model": CHAT, "messages": MESSAGES, "max_tokens": 20, "extra_body": {"temperature": 0}}
    [text] = [block.text for block in client.messages.create(**body).content if block.type == "text"]
    word = text[5]
    with client.messages.stream(**body, stop_sequences=[word]) as stream:
        streamed = stream.get_final_message()
    for answer in (client.messages.create(**body, stop_sequences=[word]), streamed):
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", word)


def test_a_document_is_read(client: anthropic.Anthropic) -> None:
    """Its tokens are in the prompt; a PDF is refused by its place."""
    text: Any = {"type": "text", "media_type": "text/plain", "data": "The word is banana."}
    pdf: Any = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    asked: Any = [{"type": "text", "text": "Which word?"}]
    without = client.messages.count_tokens(model=CHAT, messages=[{"role": "user", "content": asked}]).input_tokens
    read: Any = [{"role": "user", "content": [{"type": "document", "source": text}, *asked]}]
    assert client.messages.count_tokens(model=CHAT, messages=read).input_tokens > without + 5
    refused: Any = [{"role": "user", "content": [{"type": "document", "source": pdf}]}]
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]\.source\.data"):
        client.messages.create(model=CHAT, messages=refused, max_tokens=1)


def test_a_prefilled_answer_goes_on(client: anthropic.Anthropic) -> None:
    """Its beginning is the client's, and no part of what comes back."""
    prefilled: Any = [*MESSAGES, {"role": "assistant", "content": "One two"}]
    body: Any = {"model": CHAT, "messages": prefilled, "max_tokens": 8, "extra_body": {"temperature": 0}}
    with client.messages.stream(**body) as stream:
        streamed = stream.get_final_text()
    [whole] = [block.text for block in client.messages.create(**body).content if block.type == "text"]
    assert whole == streamed and whole and not whole.startswith("One two")


def test_count_tokens(client: anthropic.Anthropic) -> None:
    """What a request would take, without making one."""
    short = client.messages.count_tokens(model=CHAT, messages=MESSAGES).input_tokens
    more: Any = [{"role": "user", "content": "Hello " * 100}]
    assert 0 < short < client.messages.count_tokens(model=CHAT, messages=more).input_tokens


def test_errors(client: anthropic.Anthropic) -> None:
    """The SDK's own exceptions, with `type` and the id; a long prompt in the words of Anthropic's API."""
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="nope", messages=MESSAGES, max_tokens=1)
    body: Any = unknown.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    assert unknown.value.request_id
    long: Any = [{"role": "user", "content": "word " * 4000}]
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: [0-9]+ tokens > 2048 maximum"):
            client.messages.create(model=CHAT, messages=long, max_tokens=1, stream=stream)
