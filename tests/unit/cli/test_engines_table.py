"""What `ps` prints of engines, as the admin API tells of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.cli.engines_table import columns_for, duration, engine_cells, loading_words, print_engines, shown
from app.errors import Diagnosis
from app.scheduler.engine_status import EngineStatus
from app.supervisor.states import EngineState

NOW = 1_700_000_000.0


def cells(engine: EngineStatus) -> dict[str, str]:
    """One row, by its column."""
    return engine_cells(engine.fields(), NOW)


def test_a_row_says_what_a_person_asks_for() -> None:
    """State and since when, where it listens, who is with it, when it goes, and why it is as it is."""
    engine = EngineStatus(
        "org/m", EngineState.READY, since=NOW - 130, reason="a request waits for it", pid=42, port=8001, slots=4
    )
    engine = replace(engine, host="box1")
    assert cells(engine) == {
        "model": "org/m",
        "state": "ready",
        "for": "2m",
        "node": "box1",
        "pid": "42",
        "port": "8001",
        "busy": "0/4",
        "waiting": "0",
        "decodes with": "-",
        "unloads": "-",
        "why": "a request waits for it",
    }


def test_nodes_have_a_column_as_soon_as_one_has_an_engine() -> None:
    """Without a cluster there is nothing to tell."""
    here, there = (EngineStatus("m", EngineState.READY, host=host).fields() for host in ("local", "box1"))
    assert columns_for([here], ["model", "node"]) == ["model"]
    assert columns_for([here, there], ["model", "node"]) == ["model", "node"]


@pytest.mark.parametrize(
    ("more", "column", "words"),
    [
        ({"pinned": True, "unloads_at": None}, "unloads", "pinned"),
        ({"unloads_at": NOW + 240}, "unloads", "in 4m"),
        ({"slots": None, "in_flight": 3}, "busy", "3"),
        ({"state": EngineState.FATAL, "diagnosis": Diagnosis("x", "It broke.", "Mend it.", True)}, "why", "It broke."),
    ],
)
def test_each_cell_tells_the_truth(more: dict[str, Any], column: str, words: str) -> None:
    assert words in cells(EngineStatus("m", **{"state": EngineState.READY} | more))[column]


def test_stopped_engines_are_left_out_unless_somebody_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """With none left there is a line that says what to do."""
    engines = [EngineStatus("a"), EngineStatus("b", waiting=1), EngineStatus("c", EngineState.BACKOFF)]
    assert [engine["alias"] for engine in shown([engine.fields() for engine in engines])] == ["b", "c"]
    print_engines([engines[0].fields()])
    assert capsys.readouterr().out == "No engine is loaded. Load one: llama-tandem load MODEL\n"


def test_a_load_is_told_with_its_bytes() -> None:
    fields = EngineStatus("a").fields() | {"loading": {"read": 10**9, "size": 4 * 10**9, "seconds": 12.2}}
    assert loading_words(fields) == "1.00 GB of 4.00 GB read, 12 s"
    assert loading_words(EngineStatus("a").fields()) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (59.4, "59s"), (60, "1m"), (7800, "2h10m"), (3600, "1h0m"), (86400 * 3, "3d")],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words
