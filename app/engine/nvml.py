"""Measures processes' memory on NVIDIA devices by NVML (the extra `nvidia`). Empty without it, or without a driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from app import logs
from app.engine.devices import Device

log = logs.get_logger("engine")

# NVML includes the driver's own memory in a card's total, CUDA does not.
_ALIKE = 0.06


@dataclass(frozen=True, slots=True)
class _Card:
    handle: Any
    index: int
    uuid: str
    name: str
    total: int


class Nvml:
    """Queries the driver; for one thread at a time. `module` is pynvml, imported at the first query."""

    def __init__(self, module: ModuleType | None = None) -> None:
        self._module = module
        self._absent = False

    def held(self, pids: Collection[int], devices: Sequence[Device], env: Mapping[str, str]) -> dict[str, int]:
        """Device name -> bytes that these processes hold there, for each device that NVML knows.

        `env` is the environment in which `devices` were listed: it selects and orders cards. Empty if these processes
        hold nothing: in a container NVML may know them by other numbers.
        """
        nvml = self._started()
        cuda = [device for device in devices if device.name.startswith("CUDA")]
        if nvml is None or not cuda:
            return {}
        try:
            cards = _matched(cuda, _visible(_cards(nvml), env))
            sizes = {name: _of_processes(nvml, card.handle, pids) for name, card in cards.items()}
        except nvml.NVMLError as error:
            log.debug("NVML failed", error=str(error))
            return {}
        return sizes if any(sizes.values()) else {}

    def _started(self) -> Any:
        if self._absent:
            return None
        try:
            if self._module is None:
                import pynvml  # imported here, since only machines with a card need it

                self._module = pynvml
        except ImportError:
            self._absent = True
            return None
        try:
            self._module.nvmlInit()  # reference-counted, so repeated calls cost nothing
        except self._module.NVMLError as error:
            self._absent = True
            log.debug("no NVML", error=str(error))
            return None
        return self._module


def _cards(nvml: Any) -> list[_Card]:
    handles = [(at, nvml.nvmlDeviceGetHandleByIndex(at)) for at in range(nvml.nvmlDeviceGetCount())]
    return [
        _Card(
            handle,
            at,
            _text(nvml.nvmlDeviceGetUUID(handle)),
            _text(nvml.nvmlDeviceGetName(handle)),
            int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        )
        for at, handle in handles
    ]


def _visible(cards: list[_Card], env: Mapping[str, str]) -> list[_Card]:
    """The cards in the order of CUDA_VISIBLE_DEVICES, which names them by number or by the beginning of a UUID."""
    setting = env.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return cards
    seen: list[_Card] = []
    for name in map(str.strip, setting.split(",")):
        named = [card for card in cards if (card.index == int(name) if name.isdigit() else card.uuid.startswith(name))]
        if not name or len(named) != 1:
            break  # CUDA ignores all cards from here on
        seen.append(named[0])
    return seen


def _matched(devices: Sequence[Device], cards: list[_Card]) -> dict[str, _Card]:
    """Each device with the first remaining card of its name and size. CUDA may order by speed, NVML never does."""
    left, matches = list(cards), {}
    for device in devices:
        card = next((card for card in left if card.name == device.description and _alike(card, device)), None)
        card = card or next((card for card in left if _alike(card, device)), None)
        if card is not None:
            left.remove(card)
            matches[device.name] = card
    return matches


def _alike(card: _Card, device: Device) -> bool:
    return abs(card.total - device.total) <= _ALIKE * card.total


def _of_processes(nvml: Any, handle: Any, pids: Collection[int]) -> int:
    sizes: Counter[int] = Counter()
    for list_of in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in list_of(handle):
            # A process that computes and draws is in both lists, with the same figure. It is None if the driver reports
            # none
            sizes[process.pid] = max(sizes[process.pid], process.usedGpuMemory or 0)
    return sum(size for pid, size in sizes.items() if pid in pids)


def _text(value: str | bytes) -> str:
    """Old releases of pynvml return bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
