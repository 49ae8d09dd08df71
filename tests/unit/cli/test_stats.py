"""What `stats` prints, for people and for programs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.cli.stats import fields_of, stats_now, tables
from app.config.settings import Settings
from app.errors import UnknownAliasError
from app.planner import Planner
from app.records.database import Database
from app.records.ledger import Ledger, Measurement


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two entries of ours and one of somebody else; the setup at hand has the key `now`."""
    monkeypatch.setattr(Planner, "key", lambda self, alias: "now")
    local: dict[str, Any] = {"target": {"path": "/no/m.gguf"}, "aliases": ["small"]}
    models = {"org/a": local, "b": {"target": {"path": "/no/b.gguf"}}, "other": {"url": "http://127.0.0.1:1"}}
    return Settings.model_validate({"state_dir": tmp_path, "models": models})


def record(settings: Settings, *rows: tuple[str, float], alias: str = "org/a", key: str = "now") -> None:
    """Requests one after another, of a mode and a time per token each: 101 tokens, 1 s to the first."""
    at, measurements = time.time() - 1000, []
    for mode, tpot in rows:
        drafts = (None, None) if mode == "none" else (100, 75)
        at += 100
        measurements.append(Measurement(alias, key, mode, at, 1, 1.0, tpot, 1.0 + 100 * tpot, 101, *drafts))
    with Database(settings.state_dir) as database:
        Ledger(database).record_measurements(measurements)


def printed(settings: Settings, capsys: pytest.CaptureFixture[str], alias: str | None = None) -> list[str]:
    tables(stats_now(settings, alias))
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_modes_stand_beside_plain(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A row a mode, below it the same in units of plain; a dash where nothing was measured."""
    record(settings, ("none", 0.04), ("none", 0.05), ("draft-simple", 0.02))
    lines = printed(settings, capsys)
    assert lines[0] == "org/a"
    assert " ".join(lines[1].split()) == "mode requests acceptance TPOT p50 p95 tok/s at 1 at 2-3 at 4+"
    assert lines[2].split() == ["none", "2", "-", "40.0", "50.0", "22.2", "-", "-"]
    assert lines[3].split() == ["draft-simple", "1", "0.75", "20.0", "20.0", "50.0", "-", "-"]
    assert lines[4].split() == ["0.50x", "0.40x", "2.25x"]
    assert any("goodput" in line for line in lines) and any("x: relative to" in line for line in lines)
    assert max(map(len, lines)) <= 120


def test_without_plain_there_is_nothing_to_compare_with(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures alone."""
    record(settings, ("ngram-mod", 0.02))
    lines = printed(settings, capsys)
    assert (lines[2].split()[0], lines[3]) == ("ngram-mod", "")
    assert not any("x: relative to" in line for line in lines)


def test_nothing_measured_says_how_to_get_figures(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all models, or of the one that was asked for."""
    for alias in (None, "b"):
        said = " ".join(printed(settings, capsys, alias))
        assert "Nothing has been measured yet." in said and "MODEL:plain" in said
    assert stats_now(settings, None) == []


def test_any_name_of_a_model_means_all_its_modes(settings: Settings) -> None:
    """Variants are rows of their alias."""
    record(settings, ("none", 0.04))
    for name in ("org/a", "small", "small:plain", "org/a:draft"):
        assert [report.stats.alias for report in stats_now(settings, name)] == ["org/a"]
    with pytest.raises(UnknownAliasError):
        stats_now(settings, "nobody")


def test_other_setups_are_counted_and_not_mixed_in(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A new build of the engine begins anew."""
    record(settings, ("none", 0.04), key="old")
    assert "Left out: 1 request of older setups." in printed(settings, capsys)
    record(settings, ("none", 0.04), ("none", 0.04), key="older")
    record(settings, ("none", 0.02))
    lines = printed(settings, capsys)
    assert lines[2].split()[:4] == ["none", "1", "-", "20.0"]
    assert "Left out: 3 requests of older setups." in lines


def test_a_setup_that_is_gone_is_shown_as_the_last_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files were deleted, the figures were not."""
    monkeypatch.undo()
    record(settings, ("none", 0.04), key="old")
    record(settings, ("none", 0.02), key="last")
    said = "\n".join(printed(settings, capsys))
    assert "These figures are of the last measured setup: models.org/a.target: missing in /no: m.gguf" in said
    assert "20.0" in said


def test_of_servers_of_others_nothing_is_recorded(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for by name they say so; else they are passed over."""
    assert "Attached servers are not measured" in " ".join(printed(settings, capsys, "other"))


def test_programs_get_all_of_it(settings: Settings) -> None:
    """Unrounded, and null where nothing was measured."""
    record(settings, ("none", 0.04), ("draft-simple", 0.02))
    [stats] = [fields_of(report) for report in stats_now(settings, None)]
    plain, drafted = stats.pop("modes")
    assert stats == {"alias": "org/a", "older": 0, "note": ""}
    assert (plain["mode"], plain["acceptance"], "against_plain" in plain) == ("none", None, False)
    assert drafted == {
        "mode": "draft-simple",
        "requests": 1,
        "tokens": 101,
        "acceptance": 0.75,
        "tpot_p50_ms": 20.0,
        "tpot_p95_ms": 20.0,
        "goodput": {"1": pytest.approx(50.0), "2-3": None, "4+": None},
        "against_plain": {
            "tpot_p50": 0.5,
            "tpot_p95": 0.5,
            "goodput": {"1": pytest.approx(2.0), "2-3": None, "4+": None},
        },
    }


def test_what_is_loaded_is_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    tables(stats_now(settings, "other"), {"other": "ready"})
    assert capsys.readouterr().out.startswith("other (ready)\n")
