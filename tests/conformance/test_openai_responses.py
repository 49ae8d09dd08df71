"""openai-python's Responses client against real engines: streams that it accumulates, parsed answers, tools, turns."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.conformance.conversation import ANSWER, ASKED, CITIES, DESCRIPTION, SCHEMA, SHOWN, TOOL, question
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, SPEAKER

TOOL_PARAM: Any = {"type": "function", "name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA, "strict": True}


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


@pytest.fixture
def client(real: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def talk() -> Any:
    """Two calls that were answered, and a question."""
    items: list[Any] = []
    for city in SHOWN:
        items += [
            {"role": "user", "content": question(city)},
            {"type": "function_call", "call_id": f"call-{city}", "name": TOOL, "arguments": f'{{"city": "{city}"}}'},
            {"type": "function_call_output", "call_id": f"call-{city}", "output": ANSWER},
        ]
    return [*items, {"role": "user", "content": question(ASKED)}]


def test_a_stream_is_accumulated(client: openai.OpenAI) -> None:
    """The SDK's own helper, which crashed on llama-server's events."""
    with client.responses.stream(model=CHAT, input="hi", max_output_tokens=4) as stream:
        kinds = [event.type for event in stream]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert (kinds[-1], kinds.count("response.output_item.done")) == ("response.incomplete", 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_answers_are_parsed(client: openai.OpenAI, streamed: bool) -> None:
    """Random weights keep to the schema: the engine holds them to it."""
    body: Any = {"model": CHAT, "input": "Which city?", "text_format": Place, "max_output_tokens": 40}
    if streamed:
        with client.responses.stream(**body) as stream:
            parsed = stream.get_final_response().output_parsed
    else:
        parsed = client.responses.parse(**body).output_parsed
    assert parsed is not None and parsed.city in CITIES


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_answered(client: openai.OpenAI, speaking: Gateway, streamed: bool) -> None:
    """Two turns; the second goes on from the first by its id."""
    body: Any = {"model": SPEAKER, "input": talk(), "tools": [TOOL_PARAM], "max_output_tokens": 60}
    if streamed:
        with client.responses.stream(**body) as stream:
            first: Any = stream.get_final_response()
    else:
        first = client.responses.create(**body)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == (TOOL, {"city": ASKED})
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": ANSWER}]
    second = client.responses.create(
        model=SPEAKER, input=output, previous_response_id=first.id, tools=[TOOL_PARAM], max_output_tokens=10
    )
    assert second.previous_response_id == first.id
    assert second.usage is not None and second.usage.input_tokens > first.usage.input_tokens


def test_tokens_are_counted_exactly(client: openai.OpenAI) -> None:
    """What a request then takes."""
    counted = client.responses.input_tokens.count(model=CHAT, input="Hello there", instructions="Be brief.")
    answer = client.responses.create(model=CHAT, input="Hello there", instructions="Be brief.", max_output_tokens=1)
    assert answer.usage is not None and counted.input_tokens == answer.usage.input_tokens


def test_kept_responses(client: openai.OpenAI) -> None:
    """Retrieved, listed and deleted by the SDK."""
    first = client.responses.create(model=CHAT, input="one", max_output_tokens=2)
    assert client.responses.retrieve(first.id).output == first.output
    [item] = client.responses.input_items.list(first.id).data
    assert item.type == "message"
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_refusal_names_the_field(client: openai.OpenAI) -> None:
    """As `param` of the SDK's exception."""
    for fields, param in (
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"previous_response_id": "resp_nope"}, "previous_response_id"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=CHAT, input="hi", **fields)  # type: ignore[call-overload]
        assert refused.value.param == param
