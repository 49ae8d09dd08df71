"""From a fresh machine to the first token: `llama-tandem run` with the demo model, in folders that nothing is in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from app.cli.found_models import DEMO, demo_is_installed

ROOT = Path(__file__).parents[1]


def first_tokens(folder: Path) -> Iterator[float]:
    """Seconds from the command to the first byte of its answer, the first time and the second.

    Nothing where the demo model's package is not installed.
    """
    home = folder / "fresh"
    home.mkdir()
    for _ in range(2 if demo_is_installed() else 0):
        yield _until_first_byte(home)


def _until_first_byte(home: Path) -> float:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TANDEM_", "XDG_"))}
    env = own | {"HOME": str(home), "TANDEM_PORT": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "llama_tandem", "run", DEMO, "--max-tokens", "16", "Count to five."]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode or not first:
        raise SystemExit(f"run ended with {process.returncode}")
    return seconds
