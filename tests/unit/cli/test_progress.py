"""What a pull prints: lines, JSON, or bars on a terminal."""

import io
import json
import re
import sys

import pytest

from app.cli.progress import _json, _plain, shown
from app.models.download.events import DownloadEvent, Kind

STEPS = [
    DownloadEvent("plan", "", 0, 3_000_000_000),
    DownloadEvent("file", "m.gguf", 0, 3_000_000_000),
    *(DownloadEvent("progress", "m.gguf", done * 10**9, 3_000_000_000) for done in (0, 1, 2)),
    DownloadEvent("note", "m.gguf", text="the server answers 429"),
    DownloadEvent("done", "m.gguf", 3_000_000_000, 3_000_000_000),
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
        "m.gguf: 66 %, 2.00 GB",
        "the server answers 429",
        "m.gguf: complete, 3.00 GB",
    ]


def test_verdicts_are_lines() -> None:
    """With the reason where there is one."""
    out = io.StringIO()
    emit = _plain(out)
    emit(DownloadEvent("fine", "org/m/a.gguf", 1, 1))
    emit(DownloadEvent("bad", "org/m/b.gguf", 1, 1, "its checksum is another"))
    assert out.getvalue() == "org/m/a.gguf: fine\norg/m/b.gguf: bad: its checksum is another\n"


def test_json_events_are_one_a_line() -> None:
    out, times = io.StringIO(), iter([0.0, 0.4, 0.5])
    emit = _json(out, lambda: next(times))
    for event in STEPS:
        emit(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["kind"] for line in lines] == ["plan", "file", "progress", "progress", "note", "done"]
    assert lines[3] == {"kind": "progress", "path": "m.gguf", "received": 2e9, "size": 3e9, "text": ""}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(*events: DownloadEvent, lines: int = 24, columns: int = 100) -> list[str]:
    """What stands on a terminal of this size in the end."""
    out = _Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", out)
        for name, value in {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "dumb", "NO_COLOR": "1"}.items():
            patch.setenv(name, value)
        with shown(False) as emit:
            for event in events:
                emit(event)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def test_without_colour_the_total_is_one_line_and_no_escape_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR on a terminal that could do more: notes stand above, the line moves, and is gone at the end."""
    out = _Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    for name, value in {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    with shown(False) as emit:
        for event in STEPS:
            emit(event)
        emit(DownloadEvent("note", "", text="name\x1b[31m"))
    assert "\033" not in out.getvalue()
    assert "66 %  2.00 GB of 3.00 GB" in out.getvalue() and "name␛[31m\n" in out.getvalue()


@pytest.mark.parametrize("kind", ["progress", "waiting"])
def test_a_terminal_has_a_bar_a_file_and_a_total(kind: Kind) -> None:
    """Whoever fetches the bytes: what another pull brings counts as well. Rate and time left stand behind each."""
    total, *files = drawn(
        *STEPS[:2],
        DownloadEvent("file", "here.gguf", 10**9, 10**9),
        DownloadEvent("file", "later.gguf", 0, 10**9),
        DownloadEvent(kind, "m.gguf", 2 * 10**9, 3 * 10**9),
    )
    assert total.startswith("total ") and "3.0/3.0 GB" in total
    assert [line.removeprefix("other pull: ").split()[0] for line in files] == ["m.gguf", "here.gguf", "later.gguf"]
    assert "2.0/3.0 GB" in files[0] and "1.0/1.0 GB" in files[1] and "0.0/1.0 GB" in files[2]
    assert files[0].startswith("other pull: ") is (kind == "waiting")
    assert all(re.search(r"GB +(\?|[\d.]+ .?B/s) +[-\d]:[-\d]{2}:[-\d]{2}$", line) for line in (total, *files))


def test_more_files_than_lines_leave_those_that_are_not_done() -> None:
    """The total stays the first line; those that are to come wait for room."""
    planned = [DownloadEvent("file", f"{number:02}.gguf", 0, 10) for number in range(30)]
    done = [DownloadEvent("done", f"{number:02}.gguf", 10, 10) for number in range(30)]
    total, *files = drawn(
        DownloadEvent("plan", "", 0, 310), *planned, *done, DownloadEvent("progress", "last.gguf", 5, 10), lines=10
    )
    assert total.startswith("total ") and "305/310" in total
    assert len(files) < 10 and "last.gguf" in files[-1]


@pytest.mark.parametrize("columns", [80, 110, 200])
@pytest.mark.parametrize("kind", ["progress", "waiting"])
def test_a_file_takes_one_line_and_not_all_of_it(columns: int, kind: Kind) -> None:
    """However long its name is, the shard's number can be read."""
    name = f"UD/{'Q' * 60}-00001-of-00003.gguf"
    total, *files = drawn(
        DownloadEvent("plan", "", 0, 132_100_000_000),
        DownloadEvent(kind, name, 112_345_000_000, 132_100_000_000),
        columns=columns,
    )
    assert len(files) == 1 and "-00001-of-00003.gguf " in files[0] and "112.3/132.1 GB" in files[0]
    assert max(len(total), len(files[0])) <= columns - 2


def test_what_is_to_be_pasted_is_not_folded() -> None:
    entry = f"    target: {{repo: org/m, include: {'m' * 100}}}"
    assert entry in drawn(*STEPS, DownloadEvent("note", "org/m", text=f"models:\n{entry}"), columns=80)
