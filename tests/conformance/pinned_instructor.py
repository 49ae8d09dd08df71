"""What a user of instructor writes; run by its own Python, with the gateway's root URL and three models' names.

Prints one line a check; the first that fails is a traceback and exit code 1.
"""

import json
import sys
from typing import Any, Literal

import instructor
import openai
from pydantic import BaseModel

URL, CHAT, EMBEDDER, TOOLS = sys.argv[1:5]
# Shows how the tool is called, which instructor names after the class
TALK: Any = json.loads(sys.argv[5])["messages"]
CLIENT = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=60)
CITIES = ("Paris", "Rome", "Oslo")


class get_weather(BaseModel):
    city: Literal["Paris", "Rome", "Oslo"]


def asked(mode: instructor.Mode, model: str, **more: Any) -> Any:
    client = instructor.from_openai(CLIENT, mode=mode)
    body: Any = {"model": model, "messages": TALK, "response_model": get_weather, "max_tokens": 200, "max_retries": 1}
    return client.chat.completions.create(**body, **more)


def schema() -> None:
    """The engine holds random weights to it."""
    assert asked(instructor.Mode.JSON_SCHEMA, CHAT).city in CITIES


def partial_objects() -> None:
    client = instructor.from_openai(CLIENT, mode=instructor.Mode.JSON_SCHEMA)
    body: Any = {"model": CHAT, "messages": TALK, "response_model": get_weather, "max_tokens": 200}
    pieces = list(client.chat.completions.create_partial(**body))
    assert len(pieces) > 1 and pieces[-1].city in CITIES, pieces


def tools() -> None:
    """The tool is named in `tool_choice`."""
    for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT):
        assert asked(mode, TOOLS).city == "Paris", mode


for check in (schema, partial_objects, *([tools] if TOOLS else [])):
    check()
    print(check.__name__, flush=True)
