"""Names of this machine's devices in an engine whose environment hides or reorders them. Pure.

A list of devices is made with the gateway's environment. An entry's own may choose others, by their numbers:
`CUDA_VISIBLE_DEVICES: "1"` makes the second card the engine's `CUDA0`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.engine.devices import Device

# Backend -> the variables that choose its devices, the one that counts first. HIP reads CUDA's too.
_CHOICES = {
    "CUDA": ("CUDA_VISIBLE_DEVICES",),
    "ROCm": ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    "Vulkan": ("GGML_VK_VISIBLE_DEVICES",),
}
_NUMBERED = re.compile(r"(\D+)(\d+)")


def visible(devices: Sequence[Device], env: Mapping[str, str], machine: Mapping[str, str]) -> dict[str, Device]:
    """The engine's name -> the device, for an engine with `env`; `devices` were listed with the environment `machine`.

    A card that is named by its UUID counts as the next one that no number names.
    """
    seen: dict[str, Device] = {}
    for device in devices:
        backend = _backend(device.name)
        wanted, listed = _chosen(backend, env), _chosen(backend, machine)
        if wanted == listed:
            seen[device.name] = device
        elif f"{backend}0" not in seen:
            cards = [other for other in devices if _backend(other.name) == backend]
            seen |= {f"{backend}{at}": card for at, card in enumerate(_picked(cards, wanted, listed))}
    return seen


def as_named(seen: Mapping[str, Device]) -> list[Device]:
    """The devices under the engine's names."""
    return [replace(device, name=name) for name, device in seen.items()]


def _backend(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else name


def _chosen(backend: str, env: Mapping[str, str]) -> str | None:
    return next((env[name] for name in _CHOICES.get(backend, ()) if name in env), None)


def _picked(cards: Sequence[Device], wanted: str | None, listed: str | None) -> list[Device]:
    """The cards of `wanted`, in its order; `cards` are those of `listed`."""
    numbers = list(range(len(cards))) if listed is None else _numbers(listed)
    by_number = {number: card for number, card in zip(numbers, cards, strict=False) if number is not None}
    if wanted is None:
        return list(cards)
    chosen = _numbers(wanted)
    rest = [card for number, card in by_number.items() if number not in chosen]
    picked = [by_number.get(number) if number is not None else next(iter(rest), None) for number in chosen]
    return [card for card in picked if card is not None]


def _numbers(setting: str) -> list[int | None]:
    """The numbers of a list, None for each UUID. Drivers ignore all from the first invalid one on."""
    numbers: list[int | None] = []
    for text in map(str.strip, setting.split(",")):
        if not text or text.startswith("-"):
            break
        numbers.append(int(text) if text.isdecimal() else None)
    return numbers
