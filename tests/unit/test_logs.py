"""The log: lines for people and for programs, and what stays of it in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from app.log_memory import LogMemory
from app.log_words import line_for_people
from tests.support.paths import ROOT

AT = time.mktime((2026, 11, 27, 22, 10, 20, 0, 0, -1))
REQUEST = {
    "event": "POST /v1/chat/completions",
    "status": 200,
    "alias": "glm",
    "request_id": "253d3c0063083ec14ca7174bb6815469",
    "ms": 4992.7,
    "ttft_ms": 645.0,
    "prompt_tokens": 58,
    "completion_tokens": 1500,
}


def line(level: str = "info", debug: bool = False, **event: Any) -> str:
    said = line_for_people(AT, level, event, debug=debug)
    assert said.startswith("22:10:20  ")
    return said.removeprefix("22:10:20  ")


def test_a_request_is_one_short_line_with_its_figures() -> None:
    """Status first, then what, who, how much, how fast, how long; no id of a request that went well."""
    assert line(**REQUEST) == "200 chat  glm  58 -> 1500 tok  300 tok/s  ttft 0.65 s  5.0 s"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tok_s": 42.34, "drafted": 40, "accepted": 25}, "42 tok/s  62 % of 40 drafted accepted  ttft"),
        ({"event": "POST /api/generate", "tok_s": 3.21}, "200 generate  glm  58 -> 1500 tok  3.2 tok/s"),
        ({"event": "POST /v1/embeddings", "completion_tokens": None, "ttft_ms": None}, "200 embed  glm  58 tok  5.0 s"),
        ({"event": "GET /v1/models", "alias": None, "ms": 3.2}, "200 GET /v1/models  58 -> 1500 tok"),
        ({"status": 503, "error": "There is no\nmemory."}, "There is no memory.  id 253d3c"),
        ({"status": 404}, "  id 253d3c"),
    ],
)
def test_what_a_request_has_is_in_its_line(changed: dict[str, Any], said: str) -> None:
    """What it has not leaves no gap; errors have the id that the client was told."""
    told = line(**REQUEST | changed)
    assert said in told and "   " not in told and "None" not in told


def test_at_debug_each_request_has_its_id() -> None:
    assert line(debug=True, **REQUEST).endswith("  id 253d3c0063083ec14ca7174bb6815469")


def test_other_lines_say_their_level_where_it_matters_and_no_empty_fields() -> None:
    """`pid=None` tells nobody anything."""
    assert line(event="engine ready", alias="m", pid=None) == "engine ready  alias=m"
    assert line("warning", event="engine down: no memory", alias="m") == "warning: engine down: no memory  alias=m"


def test_what_an_engine_or_a_client_says_cannot_steer_the_terminal() -> None:
    """Nor begin a line that looks like ours."""
    told = line(event="x\x1b]0;OWNED\x07\n22:10:21  200 chat", alias="a\x9b31m", error="\u202eabc")
    assert told == "x␛]0;OWNED␇ 22:10:21  200 chat  alias=a<U+009B>31m  error=<U+202E>abc"


def test_memory_keeps_the_last_lines_of_the_gateway_and_of_each_model() -> None:
    """A model's are its engine's and the gateway's about it, in order; not twice at debug."""
    memory = LogMemory(kept=3)
    memory.add(AT, "info", {"event": "engine starting", "alias": "m"})
    memory.add_engine_line("m", AT, "load 1")
    memory.add(AT, "debug", {"event": "load 1", "alias": "m"})
    memory.add_engine_line("n", AT, "other")
    memory.add(AT, "info", {"event": "engine ready", "alias": "m"})
    assert [entry.event["event"] for entry in memory.last(9, "m")] == ["engine starting", "load 1", "engine ready"]
    assert [entry.event["event"] for entry in memory.last(1, "m")] == ["engine ready"]
    seen = memory.last(9)[-1].number
    for number in range(5):
        memory.add(AT, "info", {"event": f"line {number}"})
    assert [entry.event["event"] for entry in memory.last(9, behind=seen)] == ["line 2", "line 3", "line 4"]
    assert memory.last(0) == [] and memory.last(9, "nobody") == []


def logged(*words: str, **env: str) -> str:
    """What a process writes to stderr that logs a warning."""
    code = (
        "from app import logs; import sys; logs.configure(*sys.argv[1:]); "
        "logs.get_logger('x').warning('POST /v1/chat/completions', status=500, pid=None, request_id='r')"
    )
    command = [sys.executable, "-c", code, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | env
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


def test_programs_get_every_field_and_no_pipe_gets_a_colour() -> None:
    """`auto` is JSON in a pipe; `console` there has no escape codes."""
    told = json.loads(logged("auto", "info"))
    assert (told["event"], told["level"], told["status"], told["request_id"]) == (
        "POST /v1/chat/completions",
        "warning",
        500,
        "r",
    )
    assert "pid" in told
    assert logged("console", "info").partition("  ")[2] == "500 chat  id r\n"
