"""OpenAI's Agents SDK against real engines, by Responses and by chat completions."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import agents
import openai
import pytest
from pydantic import BaseModel

from tests.conformance.conversation import ANSWER, ASKED, CITIES, DESCRIPTION, SHOWN, TOOL, question
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, CONCLUSION, SPEAKER, THINKER, THOUGHT

COUNTED = agents.ModelSettings(include_usage=True)


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


Make = Callable[..., agents.Agent[Any]]
Run = Callable[[Callable[[Make], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture(params=[agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel], ids=["responses", "chat"])
def run(request: pytest.FixtureRequest, real: Gateway) -> Run:
    """Runs a coroutine with a maker of agents by their model's name, for either API."""
    agents.set_tracing_disabled(True)

    async def with_client(main: Callable[[Make], Coroutine[Any, Any, Any]]) -> Any:
        async with openai.AsyncOpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=60) as client:

            def make(name: str, **more: Any) -> agents.Agent[Any]:
                model = request.param(model=name, openai_client=client)
                return agents.Agent(name="tester", model=model, **more)

            return await main(make)

    return lambda main: asyncio.run(with_client(main))


def talk() -> list[Any]:
    """Two calls that were answered, and a question."""
    items: list[Any] = []
    for city in SHOWN:
        items += [
            {"role": "user", "content": question(city)},
            {"type": "function_call", "call_id": f"call-{city}", "name": TOOL, "arguments": f'{{"city": "{city}"}}'},
            {"type": "function_call_output", "call_id": f"call-{city}", "output": ANSWER},
        ]
    return [*items, {"role": "user", "content": question(ASKED)}]


def weather(cities: list[str]) -> agents.Tool:
    """The tool, which notes whom it was asked about."""

    def get_weather(city: Literal["Paris", "Rome", "Oslo"]) -> str:
        cities.append(city)
        return ANSWER

    return agents.function_tool(get_weather, name_override=TOOL, description_override=DESCRIPTION)


def test_a_run_whole_and_streamed(run: Run) -> None:
    """Text, usage, and the events of a stream up to its last."""

    async def main(make: Make) -> tuple[Any, Any, list[str]]:
        agent = make(THINKER, model_settings=COUNTED, instructions="Be brief.")
        whole = await agents.Runner.run(agent, "Hello")
        streamed = agents.Runner.run_streamed(agent, "Hello")
        kinds = [event.data.type async for event in streamed.stream_events() if event.type == "raw_response_event"]
        return whole, streamed, kinds

    whole, streamed, kinds = run(main)
    assert kinds[0] == "response.created" and "response.output_text.delta" in kinds
    for result in (whole, streamed):
        assert result.final_output == CONCLUSION
        assert result.raw_responses[0].usage.output_tokens > 8


def test_an_output_type(run: Run) -> None:
    """Random weights keep to the schema, and the SDK makes the object."""

    async def main(make: Make) -> Any:
        agent = make(CHAT, output_type=Place, model_settings=agents.ModelSettings(max_tokens=60))
        return await agents.Runner.run(agent, "Which city?")

    result = run(main)
    assert isinstance(result.final_output, Place) and result.final_output.city in CITIES


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_run_and_the_talk_goes_on(run: Run, speaking: Gateway, streamed: bool) -> None:
    """The SDK calls the function; a second run has the call and its output in its input."""
    cities: list[str] = []

    async def main(make: Make) -> tuple[Any, Any]:
        agent = make(
            SPEAKER,
            tools=[weather(cities)],
            tool_use_behavior="stop_on_first_tool",
            model_settings=agents.ModelSettings(max_tokens=60),
        )
        if streamed:
            first: Any = agents.Runner.run_streamed(agent, talk())
            async for _ in first.stream_events():
                pass
        else:
            first = await agents.Runner.run(agent, talk())
        said = [*first.to_input_list(), {"role": "user", "content": "Thanks."}]
        return first, await agents.Runner.run(make(THINKER), said)

    first, second = run(main)
    assert (cities, first.final_output) == ([ASKED], ANSWER)
    assert (second.raw_responses[0].usage.input_tokens > 100, second.final_output) == (True, CONCLUSION)


def test_thoughts_go_back(run: Run) -> None:
    """As an item of their own, which the next run sends again."""

    async def main(make: Make) -> tuple[Any, Any]:
        agent = make(THINKER)
        first = await agents.Runner.run(agent, "Which city?")
        said = [*first.to_input_list(), {"role": "user", "content": "Sure?"}]
        return first, await agents.Runner.run(agent, said)

    for result in run(main):
        [thoughts] = [item for item in result.new_items if isinstance(item, agents.ReasoningItem)]
        raw = thoughts.raw_item
        texts = [part.text for part in (*(raw.content or ()), *raw.summary)]
        assert THOUGHT in texts[0] and result.final_output == CONCLUSION


def test_a_run_that_is_cancelled_frees_the_engine(run: Run) -> None:
    """More of them than there are slots, and then one that is answered."""

    async def main(make: Make) -> Any:
        agent = make(CHAT, model_settings=agents.ModelSettings(max_tokens=1500))
        for _ in range(4):
            streamed = agents.Runner.run_streamed(agent, "Hello")
            async for event in streamed.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    streamed.cancel()
        return await agents.Runner.run(make(CHAT, output_type=Place), "Hello")

    assert run(main).final_output.city in CITIES


@pytest.mark.parametrize("run", [agents.OpenAIResponsesModel], ids=["responses"], indirect=True)
def test_what_cannot_be_honoured_is_the_clients_error(run: Run) -> None:
    """`conversation_id` names a state that nobody keeps."""
    with pytest.raises(openai.BadRequestError) as refused:
        run(lambda make: agents.Runner.run(make(CHAT), "Hello", conversation_id="conv_1"))
    assert refused.value.param == "conversation"
