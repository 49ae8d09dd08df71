"""Settings as a stranger has them, and engines: the fake, or where the fault is the engine's real ones."""

import os
from pathlib import Path

import pytest

from tests.engine.conftest import engine, models, serve

__all__ = ["engine", "folder", "models", "serve"]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, empty; no TANDEM_ variable is set."""
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
