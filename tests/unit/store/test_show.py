"""What a pull prints where there is no terminal."""

import io
import json

from app.store.progress import Event
from app.store.show import _json, _plain

STEPS = [
    Event("plan", "", 0, 3_000_000_000),
    *(Event("progress", "m.gguf", done * 10**9, 3_000_000_000) for done in (0, 1, 2)),
    Event("note", "m.gguf", text="the server answers 429"),
    Event("done", "m.gguf", 3_000_000_000, 3_000_000_000),
]


def test_plain_lines_come_now_and_then() -> None:
    """Every ten seconds a file; what is not steady at once."""
    out, times = io.StringIO(), iter([0.0, 9.9, 10.0])
    emit = _plain(out, lambda: next(times))
    for event in STEPS:
        emit(event)
    assert out.getvalue().splitlines() == [
        "3.00 GB in all",
        "m.gguf: 0 %, 0.00 GB",
        "m.gguf: 67 %, 2.00 GB",
        "the server answers 429",
        "m.gguf: complete, 3.00 GB",
    ]


def test_verdicts_are_lines() -> None:
    """With the reason where there is one."""
    out = io.StringIO()
    emit = _plain(out)
    emit(Event("fine", "org/m/a.gguf", 1, 1))
    emit(Event("bad", "org/m/b.gguf", 1, 1, "its checksum is another"))
    assert out.getvalue() == "org/m/a.gguf: fine\norg/m/b.gguf: bad: its checksum is another\n"


def test_json_events_are_one_a_line() -> None:
    out, times = io.StringIO(), iter([0.0, 0.4, 0.5])
    emit = _json(out, lambda: next(times))
    for event in STEPS:
        emit(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["plan", "progress", "progress", "note", "done"]
    assert lines[2] == {"kind": "progress", "path": "m.gguf", "received": 2e9, "size": 3e9, "text": ""}
