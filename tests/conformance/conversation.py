"""What all clients ask: among it a talk that shows a small model how a tool is called."""

from __future__ import annotations

from typing import Any

SAID = [{"role": "user", "content": "Hello"}]
CITIES = ("Paris", "Rome", "Oslo")
TOOL = "get_weather"
DESCRIPTION = "The weather in a city."
# For answers and for arguments: no random weights can answer anything else.
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": list(CITIES)}},
    "required": ["city"],
    "additionalProperties": False,
}
# Two turns, then a question: a model of 135M parameters goes on like that.
SHOWN = ("Oslo", "Rome")
ANSWER = "12 degrees"
ASKED = "Paris"


def question(city: str) -> str:
    """What the user says; the call that answers it has the city alone."""
    return f"Weather in {city}?"


def openai_tool() -> dict[str, Any]:
    """In OpenAI's shape for chat, which Ollama's is too."""
    return {"type": "function", "function": {"name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA}}


def openai_messages() -> list[dict[str, Any]]:
    """The talk up to the question that is to be answered by a call."""
    messages: list[dict[str, Any]] = []
    for city in SHOWN:
        function = {"name": TOOL, "arguments": f'{{"city": "{city}"}}'}
        call = {"id": f"call-{city}", "type": "function", "function": function}
        messages += [
            {"role": "user", "content": question(city)},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": ANSWER},
        ]
    return [*messages, {"role": "user", "content": question(ASKED)}]
