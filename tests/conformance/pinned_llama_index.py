"""What a user of llama-index writes; run by its own Python, with the gateway's root URL and three models' names.

Prints one line a check; the first that fails is a traceback and exit code 1.
"""

import asyncio
import json
import sys
from typing import Any, Literal

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

URL, CHAT, EMBEDDER, TOOLS = sys.argv[1:5]
TALK: Any = json.loads(sys.argv[5])
SAID = [ChatMessage(role="user", content="Hello")]


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


def get_weather(city: Literal["Paris", "Rome", "Oslo"]) -> str:
    """The weather in a city."""
    return "12 degrees"


def model(name: str, limit: int = 8, **more: Any) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=f"{URL}/v1",
        api_key="none",
        max_retries=0,
        max_tokens=limit,
        is_chat_model=True,
        context_window=4096,
        **more,
    )


def whole_and_streamed() -> None:
    asked = model(CHAT)
    assert asked.chat(SAID).message.content
    assert len(list(asked.stream_chat(SAID))) > 2
    assert asked.complete("Once").text


def in_company() -> None:
    async def main() -> list[Any]:
        asked = model(CHAT, temperature=0)
        return await asyncio.gather(*(asked.achat(SAID) for _ in range(4)))

    assert len({answer.message.content for answer in asyncio.run(main())}) == 1


def schemas() -> None:
    asked = model(CHAT, limit=200, should_use_structured_outputs=True)
    assert asked.as_structured_llm(Place).chat(SAID).raw.city in ("Paris", "Rome", "Oslo")


def tools() -> None:
    """The library runs the function, and the answer goes on from its result."""
    asked = model(TOOLS, limit=60, is_function_calling_model=True)
    messages = [_message(**fields) for fields in TALK["messages"]]
    weather = FunctionTool.from_defaults(get_weather)
    response = asked.chat_with_tools([weather], chat_history=messages)
    [call] = asked.get_tool_calls_from_response(response)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Paris"}), response
    *_, streamed = asked.stream_chat_with_tools([weather], chat_history=messages)
    [again] = asked.get_tool_calls_from_response(streamed)
    assert again.tool_kwargs == call.tool_kwargs, streamed
    result = ChatMessage(role="tool", content="12 degrees", additional_kwargs={"tool_call_id": call.tool_id})
    assert asked.chat([*messages, response.message, result]).message is not None


def _message(role: str, content: str, **more: Any) -> ChatMessage:
    return ChatMessage(role=role, content=content, additional_kwargs=more)


for check in (whole_and_streamed, in_company, schemas, *([tools] if TOOLS else [])):
    check()
    print(check.__name__, flush=True)
