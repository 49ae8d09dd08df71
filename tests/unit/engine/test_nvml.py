"""NVML as a script: which card is which device, and whose memory is whose."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from app.engine.devices import Device
from app.engine.nvml import Nvml
from tests.support.scripted_nvml import ScriptedCard, scripted_nvml

MIB = 1 << 20
BIG = Device("CUDA0", "NVIDIA Big", 24077 * MIB, 24000 * MIB)
SMALL = Device("CUDA1", "NVIDIA Small", 8000 * MIB, 8000 * MIB)
# By the slots of the bus, where CUDA puts the fastest first
CARDS = (
    ScriptedCard("NVIDIA Small", 8192, "GPU-aa11", {10: 100, 11: 50}),
    ScriptedCard("NVIDIA Big", 24564, "GPU-bb22", {10: 4000}),
)


def held(module: ModuleType | Any, *devices: Device, pids: tuple[int, ...] = (10,), **env: str) -> dict[str, float]:
    sizes = Nvml(module).held(pids, devices, env)
    return {name: size / MIB for name, size in sizes.items()}


def test_cards_are_known_by_name_and_size() -> None:
    """A process and its children; others' are not theirs."""
    assert held(scripted_nvml(*CARDS), BIG, SMALL) == {"CUDA0": 4000, "CUDA1": 100}
    assert held(scripted_nvml(*CARDS), BIG, SMALL, pids=(10, 11)) == {"CUDA0": 4000, "CUDA1": 150}


@pytest.mark.parametrize(("visible", "size"), [("1,0", 2), ("0", 1), ("GPU-dd", 2), ("1,-1,0", 2)])
def test_an_engine_sees_the_cards_that_its_environment_names(visible: str, size: float) -> None:
    """Cards of one make can be told only by that."""
    cards = [ScriptedCard("NVIDIA Big", 24564, f"GPU-{name}", {10: n}) for n, name in ((1, "cc33"), (2, "dd44"))]
    assert held(scripted_nvml(*cards), BIG, CUDA_VISIBLE_DEVICES=visible) == {"CUDA0": size}


def test_processes_of_another_name_space_are_not_seen() -> None:
    """In a container NVML has other numbers: nothing is known, which is not the same as nothing held."""
    assert held(scripted_nvml(*CARDS), BIG, SMALL, pids=(99,)) == {}


def test_devices_of_others_are_not_asked_for() -> None:
    assert held(scripted_nvml(*CARDS), Device("Vulkan0", "NVIDIA Big", 24077 * MIB, 0)) == {}


def test_without_a_driver_nothing_is_known() -> None:
    class NoDriverError(Exception):
        pass

    def init() -> None:
        raise NoDriverError("Driver Not Loaded")

    broken = SimpleNamespace(NVMLError=NoDriverError, nvmlInit=init)
    assert held(broken, BIG) == {}
