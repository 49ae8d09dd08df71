"""The name that Python runs. Many projects have a folder `app` of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.parametrize("words", [["--version"], ["check", "--config", "tandem.yaml"]])
def test_another_app_comes_first(words: list[str], tmp_path: Path) -> None:
    """On PYTHONPATH, and in the working folder."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('this is another app')\n")
    (tmp_path / "tandem.yaml").write_text("models: {m: {url: 'http://127.0.0.1:9'}}\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "TANDEM_LLAMA_SERVER": "embedded"}
    ran = subprocess.run(
        [sys.executable, "-m", "llama_tandem", *words],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "another app" not in ran.stdout + ran.stderr
    assert ran.stdout.startswith("llama-tandem ") or "1 model: " in ran.stdout, ran.stderr


def test_the_module_names_itself_as_the_command(tmp_path: Path) -> None:
    """Usage lines too."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "llama_tandem", "--help"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0 and "Usage: llama-tandem " in ran.stdout
