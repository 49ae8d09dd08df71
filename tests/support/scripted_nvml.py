"""pynvml as a script: cards, and which processes hold how much of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any


@dataclass
class ScriptedCard:
    """`total` and what processes hold are in MiB."""

    name: str
    total: int
    uuid: str
    processes: Mapping[int, int] = field(default_factory=dict)


class ScriptedNvmlError(Exception):
    """As pynvml's own."""


def scripted_nvml(*cards: ScriptedCard) -> ModuleType:
    """The functions that the gateway calls, in NVML's shapes: sizes in bytes, names as text or bytes."""
    module: Any = ModuleType("pynvml")
    module.NVMLError = ScriptedNvmlError
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetCount = lambda: len(cards)
    module.nvmlDeviceGetHandleByIndex = lambda at: cards[at]
    module.nvmlDeviceGetUUID = lambda card: card.uuid
    module.nvmlDeviceGetName = lambda card: card.name.encode()
    module.nvmlDeviceGetMemoryInfo = lambda card: SimpleNamespace(total=card.total << 20)
    module.nvmlDeviceGetComputeRunningProcesses = lambda card: [
        SimpleNamespace(pid=pid, usedGpuMemory=size << 20) for pid, size in card.processes.items()
    ]
    module.nvmlDeviceGetGraphicsRunningProcesses = lambda card: [SimpleNamespace(pid=1, usedGpuMemory=None)]
    found: ModuleType = module
    return found
