"""One conversation in the same shape, whoever answers: each engine, an attached server, a build of 2025 (recorded)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conformance.conversation import openai_messages, openai_tool
from tests.engine.conftest import ENGINES
from tests.support import small_models
from tests.support.chat_streams import typed_events
from tests.support.gateway import Gateway
from tests.support.golden import Scripted
from tests.support.paths import DATA
from tests.support.small_models import SPEAKER

Shapes = dict[str, Any]
# Of the two that a model has to be made to think for
THINKS = {"grammar": 'root ::= "<think>\\nHm.\\n</think>\\n\\nParis."'}
SAID = [{"role": "user", "content": "Hello"}]
TURNS: dict[str, dict[str, Any]] = {
    "text": {"messages": SAID, "max_tokens": 60},
    "thoughts": {"messages": SAID, "max_tokens": 60, **THINKS},
    "tools": {"messages": openai_messages(), "tools": [openai_tool()], "max_tokens": 60},
}


def as_responses(turn: dict[str, Any]) -> dict[str, Any]:
    """The same for `/v1/responses`."""
    items: list[Any] = []
    for message in turn["messages"]:
        if message["role"] == "tool":
            output = {"call_id": message["tool_call_id"], "output": message["content"]}
            items.append({"type": "function_call_output"} | output)
        elif calls := message.get("tool_calls"):
            items += [{"type": "function_call", "call_id": call["id"]} | call["function"] for call in calls]
        else:
            items.append(message)
    tools = [{"type": "function"} | tool["function"] for tool in turn.get("tools", ())]
    more = {name: value for name, value in turn.items() if name not in ("messages", "tools", "max_tokens")}
    return {"input": items, "tools": tools, "max_output_tokens": turn["max_tokens"], **more}


def as_messages(turn: dict[str, Any]) -> dict[str, Any]:
    """The same for `/v1/messages`."""
    messages: list[Any] = []
    for message in turn["messages"]:
        if message["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
            messages.append({"role": "user", "content": [result]})
        elif calls := message.get("tool_calls"):
            uses = [
                {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}
                | {"input": json.loads(call["function"]["arguments"])}
                for call in calls
            ]
            messages.append({"role": "assistant", "content": uses})
        else:
            messages.append(message)
    tools = [
        {"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"]}
        for tool in turn.get("tools", ())
    ]
    return turn | {"messages": messages, "tools": tools}


APIS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "/v1/responses": as_responses,
    "/v1/messages": as_messages,
}


def shape(value: Any) -> Any:
    """Names and kinds of what an answer consists of; numbers are one kind, and equal items of a list are one."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items()) if name not in ("timings", "tools")}
    if isinstance(value, list):
        shapes = [shape(inner) for inner in value]
        return [each for i, each in enumerate(shapes) if each not in shapes[:i]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def shapes_of(client: httpx2.Client, model: str, before: Callable[[str, bool], None]) -> Shapes:
    """By API, turn and way; `before` is told which turn comes, and whether it streams."""
    found: Shapes = {}
    for path, translated in APIS.items():
        for name, turn in TURNS.items():
            for stream in (False, True):
                before(name, stream)
                answer = client.post(path, json=translated(turn) | {"model": model, "stream": stream})
                assert answer.status_code == 200, answer.text
                if stream:
                    events = [data for kind, data in typed_events(answer.content) if kind != "ping"]
                    told = [shape(data) | {"type": data["type"]} for data in events]
                    found[f"{path} {name} stream"] = [each for i, each in enumerate(told) if each not in told[:i]]
                else:
                    found[f"{path} {name}"] = shape(answer.json())
    return found


@pytest.fixture(scope="module", params=ENGINES)
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the model that speaks."""
    folder = tmp_path_factory.mktemp("shapes")
    if (speaker := small_models.speaker(folder)) is None:
        pytest.skip("no small model that has learnt to speak")
    gateway = Gateway(folder, models={SPEAKER: speaker}, llama_server=ENGINES[request.param])
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def of_2025(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """What clients get of the recorded build."""
    server = Scripted()
    gateway = Gateway(tmp_path_factory.mktemp("shapes-2025"), models={"old": {"url": server.url}})

    def answers(turn: str, stream: bool) -> None:
        recorded = DATA / "streams-2025" / f"{turn}.{'sse' if stream else 'json'}"
        kind = "text/event-stream" if stream else "application/json"
        server.answer(200, recorded.read_text(), cut=False, kind=kind)

    try:
        return shapes_of(gateway.client, "old", answers)
    finally:
        gateway.close()
        server.close()


def test_an_engine_and_the_same_one_attached(engines: Gateway, of_2025: Shapes, tmp_path: Path) -> None:
    """Thoughts, text and a call, streamed and not, by either API: as a build of 2025 has them, too."""
    own = shapes_of(engines.client, SPEAKER, lambda turn, stream: None)
    url, key = engines.engine(SPEAKER)
    attached = Gateway(tmp_path, models={"theirs": {"url": url, "api_key": key}})
    try:
        foreign = shapes_of(attached.client, "theirs", lambda turn, stream: None)
    finally:
        attached.close()
    assert foreign == own
    assert of_2025 == own
