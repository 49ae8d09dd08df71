"""Durations and sizes with a unit, wherever a setting may stand."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.config.settings import load_settings
from app.errors import ConfigError


def test_every_duration_takes_a_unit(folder: Path) -> None:
    """As numbers they are seconds, as they were."""
    (folder / "tandem.yaml").write_text(
        "queue_timeout: 5m\ndrain_timeout: 90s\nstop_grace: 500ms\nstart_stall_timeout: 120\n"
        "start_timeout: 1h30m\nbody_timeout: '60'\n"
    )
    settings = load_settings()
    assert (settings.queue_timeout, settings.drain_timeout, settings.stop_grace) == (300, 90, 0.5)
    assert (settings.start_stall_timeout, settings.start_timeout, settings.body_timeout) == (120, 5400, 60)


@pytest.mark.parametrize(
    ("written", "mebibytes"), [("64", 64), ("0.5", 0.5), ("1GiB", 1024), ("512KiB", 0.5), ("1048576B", 1)]
)
def test_a_size_takes_a_unit(written: str, mebibytes: float, folder: Path) -> None:
    """`max_body_mb` without one is in MiB, as its name says."""
    (folder / "tandem.yaml").write_text(f"max_body_mb: {written}\n")
    assert load_settings().max_body_mb == mebibytes


def test_variables_take_them_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment and in .env alike."""
    monkeypatch.setenv("TANDEM_QUEUE_TIMEOUT", "24h")
    (folder / ".env").write_text("TANDEM_MAX_BODY_MB=2GiB\n")
    settings = load_settings()
    assert (settings.queue_timeout, settings.max_body_mb) == (86400, 2048)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("queue_timeout: 5 parsecs", "queue_timeout: must be seconds, or a number with ms, s, m, h or d, such as 90s"),
        ("stop_grace: -5s", "stop_grace: must be seconds, or a number with ms"),
        ("stop_grace: -5", "stop_grace: must be at least 0"),
        ("body_timeout: 0s", "body_timeout: must be above 0"),
        ("queue_timeout: on", "queue_timeout: must be a number, not on/off"),
        ("queue_timeout: 5m3", "not '5m3'"),
        ("max_body_mb: 8G", "max_body_mb: must be MiB, or a number with KiB, MiB, GiB, TiB, or kB, MB, GB, TB"),
        ("max_body_mb: 0MiB", "max_body_mb: must be above 0"),
    ],
)
def test_what_is_none_names_the_forms(text: str, words: str, folder: Path) -> None:
    (folder / "tandem.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert words in str(caught.value)


def test_tune_takes_a_time(folder: Path) -> None:
    """`--minutes` stays in minutes without a unit; what is neither is told before anything is measured."""
    (folder / "tandem.yaml").write_text("models: {a: {target: {path: x.gguf}}}")
    result = CliRunner().invoke(cli, ["tune", "a", "--minutes", "soon"])
    assert result.exit_code == 1
    assert "--minutes: must be minutes, or a number with ms, s, m, h or d" in result.stderr
    result = CliRunner().invoke(cli, ["tune", "a", "--minutes", "9d"])
    assert "--minutes: must be above 0 and at most 10080" in result.stderr
