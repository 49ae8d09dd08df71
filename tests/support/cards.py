"""Two graphics cards that are not there: a llama-server that fills them, and an NVML that tells who did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.support.gateway import fake_llama_server

ROOT = Path(__file__).parents[2]

# MiB of each card
TOTAL = 10_000
CARDS = ("CUDA0", "CUDA1")

_ENGINE = """\
#!{python} -SE
import os, sys
folder = {folder!r}
held = dict.fromkeys({cards!r}, 0)
for name in os.listdir(folder):
    card, _, pid = name.partition(".")
    try:
        os.kill(int(pid), 0)
        state = open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        continue
    if card in held and state not in "ZX":
        held[card] += int(open(os.path.join(folder, name)).read() or 0)
if "--list-devices" in sys.argv:
    print("Available devices:")
    for card, used in held.items():
        print(f"  {{card}}: A fake GPU ({total} MiB, {{{total} - used}} MiB free)")
    sys.exit()
for at, card in enumerate(held):
    takes = int(os.environ.get(f"GGML_TAKES_{{card}}", "0"))
    if "--model" in sys.argv and takes and held[card] + takes > {total}:
        open(os.path.join(folder, "failures"), "a").write(f"{{card}}\\n")
        sys.exit(
            f"0.00.1 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating {{takes}}.00 MiB on device {{at}}: "
            "cudaMalloc failed: out of memory"
        )
    if "--model" in sys.argv and takes:
        open(os.path.join(folder, f"{{card}}.{{os.getpid()}}"), "w").write(str(takes))
os.execv({fake!r}, [{fake!r}, *sys.argv[1:]])
"""

_NVML = """\
import os
from types import SimpleNamespace

FOLDER, CARDS, TOTAL = {folder!r}, {cards!r}, {total}


class NVMLError(Exception):
    pass


def nvmlInit():
    pass


def nvmlDeviceGetCount():
    return len(CARDS)


def nvmlDeviceGetHandleByIndex(at):
    return CARDS[at]


def nvmlDeviceGetUUID(card):
    return "GPU-" + card


def nvmlDeviceGetName(card):
    return "A fake GPU"


def nvmlDeviceGetMemoryInfo(card):
    return SimpleNamespace(total=TOTAL << 20)


def nvmlDeviceGetComputeRunningProcesses(card):
    files = [name for name in os.listdir(FOLDER) if name.startswith(card + ".")]
    return [
        SimpleNamespace(pid=int(name.split(".")[1]), usedGpuMemory=int(open(os.path.join(FOLDER, name)).read()) << 20)
        for name in files
    ]


def nvmlDeviceGetGraphicsRunningProcesses(card):
    return []
"""


class Cards:
    """In a folder of their own. Engines take what their entries' `GGML_TAKES_CUDA0` says, in MiB, or fail."""

    def __init__(self, folder: Path) -> None:
        self._held = folder / "held"
        self._held.mkdir(parents=True)
        self._modules = folder / "modules"
        self._modules.mkdir()
        (folder / "fake").mkdir()
        self.llama_server = folder / "llama-server"
        values: Mapping[str, Any] = {
            "python": sys.executable,
            "folder": str(self._held),
            "cards": CARDS,
            "total": TOTAL,
            "fake": str(fake_llama_server(folder / "fake")),
        }
        self.llama_server.write_text(_ENGINE.format(**values))
        self.llama_server.chmod(0o755)
        (self._modules / "pynvml.py").write_text(_NVML.format(**values))

    @property
    def failures(self) -> list[str]:
        """The card that each start ran out of memory of."""
        path = self._held / "failures"
        return path.read_text().split() if path.exists() else []

    def held(self) -> dict[str, int]:
        """MiB of each card that processes hold that are alive."""
        sizes = dict.fromkeys(CARDS, 0)
        for path in self._held.iterdir():
            card, _, pid = path.name.partition(".")
            if card in sizes and psutil.pid_exists(int(pid)):
                sizes[card] += int(path.read_text())
        return sizes

    def start(self, words: list[str], *, env: Mapping[str, str], folder: Path) -> subprocess.Popen[str]:
        """`llama-tandem WORDS` that finds this NVML."""
        return subprocess.Popen(
            [sys.executable, "-m", "llama_tandem", *words],
            env={**env, "PYTHONPATH": f"{self._modules}:{ROOT}"},
            cwd=folder,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
