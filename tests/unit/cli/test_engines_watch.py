"""What `ps --watch` shows, at the width that there is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from app.cli.engines_watch import view
from app.errors import Diagnosis
from app.scheduler.engine_status import EngineStatus
from app.supervisor.states import EngineState

NOW = 1_700_000_000.0
FIGURES = {"context": 8192, "memory": 3_200_000_000, "acceptance": 0.62, "tok_s": 41.6}
REQUEST = {
    "id": "0123456789abcdef",
    "model": "org/m",
    "client": "key alice",
    "state": "answering",
    "before": None,
    "seconds": 12.3,
    "ttft": 0.65,
    "tokens": 310,
    "tok_s": 26.6,
}


def text(engines: list[dict[str, Any]], requests: list[dict[str, Any]], width: int = 120) -> str:
    out = Console(file=io.StringIO(), width=width)
    with out.capture() as captured:
        out.print(view(engines, requests, NOW, out))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    return "\n".join(line.rstrip() for line in lines)


def ready(**more: Any) -> dict[str, Any]:
    status = EngineStatus("org/m", EngineState.READY, since=NOW - 90, slots=4, last_used=NOW - 41, unloads_at=NOW + 240)
    return status.fields() | FIGURES | {"mode": "draft-simple"} | more


def test_an_engine_with_all_that_is_known_of_it() -> None:
    assert text([ready()], []) == (
        "model  state  mode          acceptance  tok/s  busy  waiting   memory  context  idle  unloads in\n"
        "org/m  ready  draft-simple        62 %     42   0/4        0  3.0 GiB     8192   41s          4m"
    )


def test_requests_stand_below_and_their_speeds_are_the_engines() -> None:
    waiting = REQUEST | {"state": "waiting", "before": 2, "ttft": None, "tokens": None, "tok_s": None}
    shown = text([ready(in_flight=2, waiting=1)], [REQUEST, REQUEST, waiting])
    assert "org/m  ready  draft-simple        62 %     53   2/4        1" in shown
    assert "org/m       key alice  answering             12s       0.65 s     310     27  01234567" in shown
    assert "waiting, 2 before it" in shown


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_narrow_terminal_loses_what_matters_least(width: int) -> None:
    """Model, state, speed and who waits stay; nothing is folded where that can be helped."""
    shown = text([ready()], [REQUEST], width)
    first, row, *_ = shown.splitlines()
    assert first.startswith("model") and "org/m" in row and "ready" in row
    if width >= 60:
        assert "tok/s" in first and "waiting" in first and "draft-simple" in row
        assert len(shown.splitlines()) == 5


def test_columns_without_a_word_are_left_out() -> None:
    """An older gateway, and a server that tells less, say nothing of some."""
    shown = text([EngineStatus("m", EngineState.READY, since=NOW - 5).fields()], [])
    assert "acceptance" not in shown and "memory" not in shown and "idle" in shown


def test_a_load_and_a_failure_have_a_line_of_their_own() -> None:
    loading = EngineStatus("a", EngineState.STARTING).fields() | {
        "loading": {"read": 10**9, "size": 4 * 10**9, "seconds": 12.2}
    }
    failed = EngineStatus("b", EngineState.FATAL, diagnosis=Diagnosis("x", "It broke.", "Mend it.", True)).fields()
    shown = text([loading, failed], [])
    assert "a: 1.00 GB of 4.00 GB read, 12 s" in shown and "b: It broke." in shown


def test_nothing_up_says_what_to_do() -> None:
    assert text([EngineStatus("a").fields()], []) == "No engine is loaded. Load one: llama-tandem load MODEL"
