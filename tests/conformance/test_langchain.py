"""langchain-openai against real engines: invoke, stream, async, tools, structured output, embeddings."""

import asyncio
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests.conformance.conversation import ANSWER, ASKED, CITIES, SHOWN, TOOL, openai_tool, question
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, EMBEDDER, SPEAKER

NO_KEY = SecretStr("none")


class Place(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


def talk() -> list[BaseMessage]:
    """The same talk as elsewhere, in LangChain's messages."""
    messages: list[BaseMessage] = []
    for city in SHOWN:
        call: Any = {"name": TOOL, "args": {"city": city}, "id": f"call-{city}"}
        messages += [
            HumanMessage(question(city)),
            AIMessage("", tool_calls=[call]),
            ToolMessage(ANSWER, tool_call_id=call["id"]),
        ]
    return [*messages, HumanMessage(question(ASKED))]


def model(gateway: Gateway, name: str = CHAT, limit: int = 8, **more: Any) -> ChatOpenAI:
    made: Any = ChatOpenAI
    found: ChatOpenAI = made(
        model=name, base_url=f"{gateway.url}/v1", api_key=NO_KEY, max_retries=0, max_completion_tokens=limit, **more
    )
    return found


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_invoke_and_stream(real: Gateway, responses: bool) -> None:
    """Through either of OpenAI's APIs, with usage in both."""
    asked = model(real, use_responses_api=responses, stream_usage=True)
    whole = asked.invoke("Hello")
    assert whole.text and whole.usage_metadata and whole.usage_metadata["output_tokens"] == 8
    pieces = [piece for piece in asked.stream("Hello") if isinstance(piece, AIMessageChunk)]
    assert len(pieces) > 2 and "".join(piece.text for piece in pieces)
    assert [p.usage_metadata["output_tokens"] for p in pieces if p.usage_metadata] == [8]


def test_async_batch(real: Gateway) -> None:
    """Several at once."""
    answers = asyncio.run(model(real, temperature=0).abatch(["Hello"] * 4))
    assert answers[0].text and len({answer.text for answer in answers}) == 1


def test_tools(speaking: Gateway) -> None:
    """`bind_tools`, whole and in pieces."""
    asked = model(speaking, SPEAKER, limit=60).bind_tools([openai_tool()])
    whole = asked.invoke(talk())
    pieces: Any = None
    for piece in asked.stream(talk()):
        pieces = piece if pieces is None else pieces + piece
    for answer in (whole, pieces):
        [call] = answer.tool_calls
        assert (call["name"], call["args"]) == (TOOL, {"city": ASKED}) and call["id"]


def test_structured_output(real: Gateway) -> None:
    """An object of the class."""
    asked = model(real, limit=200).with_structured_output(Place, method="json_schema")
    found = asked.invoke("Hello")
    assert isinstance(found, Place) and found.city in CITIES


def test_embeddings(real: Gateway) -> None:
    """Texts, not lists of token numbers of somebody else's vocabulary."""
    embed = OpenAIEmbeddings(
        model=EMBEDDER, base_url=f"{real.url}/v1", api_key=NO_KEY, check_embedding_ctx_length=False, max_retries=0
    )
    assert [len(vector) for vector in embed.embed_documents(["one", "two"])] == [64, 64]
