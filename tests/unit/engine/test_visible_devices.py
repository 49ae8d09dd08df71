"""What an entry's environment makes of this machine's devices."""

from __future__ import annotations

import pytest

from app.engine.devices import Device
from app.engine.visible_devices import as_named, visible

CARDS = [Device(f"CUDA{at}", "A GPU", 1000 + at, 900) for at in range(3)]
OTHERS = [Device("Vulkan0", "One", 5, 5), Device("Vulkan1", "Two", 6, 6), Device("RPC0", "host:1", 7, 7)]


def seen(machine: dict[str, str] | None = None, **env: str) -> dict[str, str]:
    return {name: device.name for name, device in visible([*CARDS, *OTHERS], env, machine or {}).items()}


SAME = {device.name: device.name for device in [*CARDS, *OTHERS]}
REST = {device.name: device.name for device in OTHERS}


def test_devices_keep_their_names_where_nothing_chooses() -> None:
    assert seen() == SAME
    assert seen({"CUDA_VISIBLE_DEVICES": "4,5,6"}, CUDA_VISIBLE_DEVICES="4,5,6") == SAME


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("1", {"CUDA0": "CUDA1"}),
        ("2,0", {"CUDA0": "CUDA2", "CUDA1": "CUDA0"}),
        (" 1 , 2 ", {"CUDA0": "CUDA1", "CUDA1": "CUDA2"}),
        ("1,-1,0", {"CUDA0": "CUDA1"}),
        ("-1", {}),
        ("", {}),
        ("9", {}),
        ("GPU-abc", {"CUDA0": "CUDA0"}),
        ("0,GPU-abc", {"CUDA0": "CUDA0", "CUDA1": "CUDA1"}),
    ],
)
def test_an_entry_chooses_cards_by_their_numbers(setting: str, names: dict[str, str]) -> None:
    """In its own order; a driver ignores everything from an invalid one on. Other backends' devices stay."""
    assert seen(CUDA_VISIBLE_DEVICES=setting) == names | REST


def test_numbers_are_the_machines_where_the_gateway_sees_some_cards_only() -> None:
    """A card that the gateway does not see has no budget either."""
    machine = {"CUDA_VISIBLE_DEVICES": "5,3,7"}
    assert seen(machine, CUDA_VISIBLE_DEVICES="3") == {"CUDA0": "CUDA1"} | REST
    assert seen(machine, CUDA_VISIBLE_DEVICES="7,4") == {"CUDA0": "CUDA2"} | REST


def test_each_backend_has_its_own_variable() -> None:
    vulkan = {"CUDA0": "CUDA0", "CUDA1": "CUDA1", "CUDA2": "CUDA2", "Vulkan0": "Vulkan1", "RPC0": "RPC0"}
    assert seen(GGML_VK_VISIBLE_DEVICES="1") == vulkan
    amd = [Device(f"ROCm{at}", "AMD", 9, 9) for at in range(2)]
    for name in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        assert visible(amd, {name: "1"}, {}) == {"ROCm0": amd[1]}
    assert visible(amd, {"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, {}) == {"ROCm0": amd[0]}


def test_an_estimate_is_made_with_the_engines_names() -> None:
    [device] = as_named({"CUDA0": CARDS[1]})
    assert (device.name, device.total) == ("CUDA0", 1001)
