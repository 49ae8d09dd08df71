"""What pulling costs: `llama-tandem pull` of a set in shards beside curl, by turns, from one Hub on loopback.

curl gets the addresses of the bytes, writes them to the same disk and checks nothing; the pull asks the Hub, writes a
journal, hashes everything and syncs it. Each turn begins with an empty folder.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hub import REPO
from benchmarks.processes import gateway_environment
from tests.support.hub_models import model

ROUNDS = 3
GIGABYTES, SHARDS = 4, 2
_PIECE = 16 << 20


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of all turns: bytes a second, CPU seconds (user and system) a gigabyte; and the most memory, in bytes."""

    rate: float
    cpu_per_gb: float
    peak_rss: int


@dataclass(frozen=True, slots=True)
class _Turn:
    seconds: float
    cpu: float
    peak_rss: int


def measure(folder: Path) -> tuple[Figures, Figures | None]:
    """The pull's figures and curl's, None for curl where it is not installed. Needs three times the set's size."""
    names = _make_set(folder / "hub")
    size = sum((folder / "hub" / name).stat().st_size for name in names)
    curl = shutil.which("curl")
    ours: list[_Turn] = []
    theirs: list[_Turn] = []
    with _hub(folder / "hub") as (hub, addresses):
        for _ in range(ROUNDS):
            ours.append(_pulled(folder / "models", hub, names))
            if curl is not None:
                theirs.append(_curled(folder / "curl", curl, dict(zip(names, addresses, strict=True))))
    return _figures(ours, size), _figures(theirs, size) if theirs else None


def _figures(turns: list[_Turn], size: int) -> Figures:
    return Figures(
        rate=size / statistics.median(turn.seconds for turn in turns),
        cpu_per_gb=statistics.median(turn.cpu for turn in turns) / (size / 1e9),
        peak_rss=max(turn.peak_rss for turn in turns),
    )


def _make_set(folder: Path) -> list[str]:
    """Shards of random bytes behind a header, as no disk and no network could make smaller."""
    folder.mkdir()
    names = [f"set-Q4_K_M-{number + 1:05}-of-{SHARDS:05}.gguf" for number in range(SHARDS)]
    for number, name in enumerate(names):
        with (folder / name).open("wb") as file:
            file.write(model(0, shard=(number, SHARDS)))
            for _ in range(round(GIGABYTES * 1e9 / SHARDS / _PIECE)):
                file.write(os.urandom(_PIECE))
    return names


@contextmanager
def _hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    command = [sys.executable, "-m", "benchmarks.hub", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        hub, *addresses = (process.stdout.readline().strip() for _ in range(1 + SHARDS))
        yield hub, addresses
        process.stdin.close()


def _pulled(models: Path, hub: str, names: list[str]) -> _Turn:
    """From the command to its end, the interpreter's start included."""
    own = {name: value for name, value in gateway_environment().items() if not name.startswith("HF_")}
    own |= {"HF_ENDPOINT": hub, "HF_HOME": str(models / "hf"), "TANDEM_MODELS_DIR": str(models)}
    models.mkdir()
    turn = _run([sys.executable, "-P", "-m", "llama_tandem", "pull", f"hf:{REPO}"], own)
    assert all((models / REPO / name).is_file() for name in names)
    shutil.rmtree(models)
    return turn


def _curled(folder: Path, curl: str, files: dict[str, str]) -> _Turn:
    """One after the other over one connection, as a person would have it."""
    folder.mkdir()
    words = [word for name, address in files.items() for word in ("-o", str(folder / name), address)]
    turn = _run([curl, "--silent", "--fail", *words], dict(os.environ))
    shutil.rmtree(folder)
    return turn


def _run(command: list[str], environment: dict[str, str]) -> _Turn:
    os.sync()  # what the turn before left to be written is not this one's
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {said.decode(errors='replace').strip()}")
    # Linux counts kilobytes, macOS bytes
    unit = 1 if sys.platform == "darwin" else 1024
    return _Turn(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)
