"""From a fresh machine to the first token: `llama-tandem run` with the demo model, in folders that nothing is in."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from app.cli.found_models import DEMO, demo_is_installed

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class FirstToken:
    """Seconds from the command to the first byte of its answer: in empty folders, and the median of later times."""

    fresh: float
    again: float


def first_tokens(folder: Path, roots: Sequence[Path]) -> dict[Path, FirstToken]:
    """Of each checkout, by turns. Nothing where the demo model's package is not installed."""
    if not demo_is_installed():
        return {}
    homes = {root: Path(mkdtemp(dir=folder)) for root in roots}
    times: dict[Path, list[float]] = {root: [] for root in roots}
    for _ in range(ROUNDS + 1):
        for root, home in homes.items():
            times[root].append(_until_first_byte(root, home))
    return {root: FirstToken(first, statistics.median(later)) for root, (first, *later) in times.items()}


def _until_first_byte(root: Path, home: Path) -> float:
    unwanted = ("TANDEM_", "XDG_", "PYTHONDONTWRITEBYTECODE")
    own = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env = own | {"HOME": str(home), "TANDEM_PORT": "0", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "llama_tandem", "run", DEMO, "--max-tokens", "16", "Count to five."]
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode or not first:
        raise SystemExit(f"run ended with {process.returncode}")
    return seconds
