"""Bodies and answers that are nested deeply: an error that says so, at any depth, and never a RecursionError."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.scripted_engine import PATHS, asked

# Some readers take a depth that the next one does not, and the limit depends on who calls them.
DEPTHS = (10, 300, *range(880, 1001, 8), 5000, 100_000)
DONE = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def nested(depth: int, kind: str) -> str:
    opening, closing = ("[", "]") if kind == "arrays" else ('{"a":', "}")
    return opening * depth + "1" + closing * depth


HEAD = '{"model":"m","stream":true,"max_tokens":5,'
SAID = '"messages":[{"role":"user","content":"x"}],"input":"x","prompt":"x"'
PLACES = {
    "beside": HEAD + SAID + ',"z":%s}',
    "content": HEAD + '"messages":[{"role":"user","content":%s}],"input":[%s],"prompt":%s}',
    "arguments": HEAD
    + '"messages":[{"role":"assistant","tool_calls":[{"id":"c","name":null,"function":{"name":"f","arguments":%s}}]}],'
    + '"input":"x","prompt":"x"}',
    "tools": HEAD
    + SAID
    + ',"tools":[{"type":"function","name":"f","function":{"name":"f","strict":true,"parameters":%s},'
    + '"input_schema":%s}],"response_format":{"type":"json_schema","json_schema":{"strict":true,"schema":%s}},'
    + '"format":%s}',
}


@pytest.mark.parametrize("kind", ["arrays", "objects"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", PATHS)
def test_a_nested_body_is_passed_on_or_refused(path: str, place: str, kind: str) -> None:
    statuses = set()
    for depth in DEPTHS:
        body = PLACES[place].replace("%s", nested(depth, kind)).encode()
        sent: list[Any] = []
        asyncio.run(asked(path, body, DONE, sent=sent)())
        statuses.add(sent[0]["status"])
        if sent[0]["status"] != 200:
            error = json.loads(sent[1]["body"])["error"]
            assert isinstance(error, str) or error["message"]
    assert statuses <= {200, 400} and 400 in statuses


@pytest.mark.parametrize("path", PATHS)
def test_brackets_without_an_end_are_refused(path: str) -> None:
    for body in (
        b"[" * 1_000_000,
        b'{"model":' + b"[" * 1_000_000,
        b'{"a":' * 300_000,
        b'{"model":"m","x":' + b"[" * 3_000_000,
    ):
        sent: list[Any] = []
        asyncio.run(asked(path, body, DONE, sent=sent)())
        assert sent[0]["status"] == 400


@pytest.mark.parametrize("path", PATHS)
def test_a_nested_event_harms_no_stream(path: str) -> None:
    """It passes, or is left out where events are translated."""
    body = (PLACES["beside"] % 1).encode()
    for depth in DEPTHS:
        event = f'data: {{"choices":[],"usage":{nested(depth, "objects")}}}\n\n'.encode()
        sent: list[Any] = []
        asyncio.run(asked(path, body, event, DONE, sent=sent)())
        assert sent[0]["status"] == 200 and not sent[-1].get("more_body")
