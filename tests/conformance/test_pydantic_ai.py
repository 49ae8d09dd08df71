"""pydantic-ai against real engines, by its models for chat completions, Responses and Anthropic."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import anthropic
import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from tests.conformance.conversation import ANSWER, ASKED, CITIES, DESCRIPTION, SCHEMA, SHOWN, TOOL, question
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, CONCLUSION, SPEAKER, THINKER, THOUGHT

Make = Callable[[str], Model]
Run = Callable[[Callable[[Make], Coroutine[Any, Any, Any]]], Any]
TOOLS = ModelRequestParameters(
    function_tools=[ToolDefinition(name=TOOL, description=DESCRIPTION, parameters_json_schema=SCHEMA)]
)
# Which models keep to a schema is in the library's tables, and these names are not.
HELD = ModelProfile(supports_json_schema_output=True)


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


@pytest.fixture(params=["chat", "responses", "anthropic"])
def run(request: pytest.FixtureRequest, real: Gateway) -> Run:
    """Runs a coroutine with a maker of models by their names, for one of the three APIs."""

    async def with_client(main: Callable[[Make], Coroutine[Any, Any, Any]]) -> Any:
        if request.param == "anthropic":
            async with anthropic.AsyncAnthropic(base_url=real.url, api_key="none", max_retries=0) as client:
                provider = AnthropicProvider(anthropic_client=client)
                return await main(lambda name: AnthropicModel(name, provider=provider, profile=HELD))
        model: Any = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[request.param]
        async with openai.AsyncOpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0) as openai_client:
            of_openai = OpenAIProvider(openai_client=openai_client)
            return await main(lambda name: model(name, provider=of_openai, profile=HELD))

    return lambda main: asyncio.run(with_client(main))


def talk() -> list[ModelMessage]:
    """Two calls that were answered, and a question."""
    messages: list[ModelMessage] = []
    for city in SHOWN:
        call = ToolCallPart(TOOL, {"city": city}, tool_call_id=f"call-{city}")
        messages += [
            ModelRequest([UserPromptPart(question(city))]),
            ModelResponse([call]),
            ModelRequest([ToolReturnPart(TOOL, ANSWER, tool_call_id=call.tool_call_id)]),
        ]
    return [*messages, ModelRequest([UserPromptPart(question(ASKED))])]


def test_a_run_whole_and_streamed(run: Run) -> None:
    """Text and usage."""

    async def main(make: Make) -> tuple[Any, Any]:
        agent = Agent(make(CHAT), instructions="Be brief.", model_settings={"max_tokens": 8})
        whole = await agent.run("Hello")
        async with agent.run_stream("Hello") as stream:
            assert await stream.get_output()
        return whole.usage, stream.usage

    for usage in run(main):
        assert usage.output_tokens == 8


def test_an_output_type(run: Run) -> None:
    """Random weights keep to the schema, whole and streamed."""

    async def main(make: Make) -> list[Place]:
        agent = Agent(make(CHAT), output_type=NativeOutput(Place), model_settings={"max_tokens": 60})
        async with agent.run_stream("Which city?") as stream:
            streamed = await stream.get_output()
        return [streamed, (await agent.run("Which city?")).output]

    assert all(place.city in CITIES for place in run(main))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_answered(run: Run, speaking: Gateway, streamed: bool) -> None:
    """Two turns; the second has the first one's call and its result."""

    async def main(make: Make) -> tuple[ModelResponse, ModelResponse]:
        model, messages = make(SPEAKER), talk()
        asked: Any = {"model_request_parameters": TOOLS, "model_settings": {"max_tokens": 60}}
        if streamed:
            async with model_request_stream(model, messages, **asked) as stream:
                async for _ in stream:
                    pass
            first = stream.get()
        else:
            first = await model_request(model, messages, **asked)
        [call] = [part for part in first.parts if isinstance(part, ToolCallPart)]
        result = ModelRequest([ToolReturnPart(TOOL, ANSWER, tool_call_id=call.tool_call_id)])
        asked["model_settings"] = {"max_tokens": 4}
        return first, await model_request(model, [*messages, first, result], **asked)

    first, second = run(main)
    [call] = [part for part in first.parts if isinstance(part, ToolCallPart)]
    assert (call.tool_name, call.args_as_dict()) == (TOOL, {"city": ASKED})
    assert second.usage.input_tokens > first.usage.input_tokens


def test_thoughts_go_back(run: Run) -> None:
    """As a part of their own, which the next run sends again."""

    async def main(make: Make) -> list[Any]:
        settings: Any = {"max_tokens": 100, "openai_reasoning_summary": "auto"}
        agent = Agent(make(THINKER), model_settings=settings)
        first = await agent.run("Which city?")
        async with agent.run_stream("Sure?", message_history=first.all_messages()) as stream:
            assert await stream.get_output() == CONCLUSION
        return [*first.new_messages(), *stream.new_messages()]

    answers = [message for message in run(main) if isinstance(message, ModelResponse)]
    thoughts = [part.content.strip() for answer in answers for part in answer.parts if isinstance(part, ThinkingPart)]
    assert thoughts == [THOUGHT, THOUGHT]


def test_an_unknown_model_is_an_error_with_its_status(run: Run) -> None:
    with pytest.raises(ModelHTTPError, match="'nope'") as unknown:
        run(lambda make: Agent(make("nope")).run("Hello"))
    assert unknown.value.status_code == 404
