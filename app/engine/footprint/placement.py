"""Assigns layers to devices by llama.cpp's own split, from the last layer backwards. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.engine.devices import Device
from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import ALL_LAYERS, ModelPlace


@dataclass(frozen=True, slots=True)
class LayerPlaces:
    """The device of each layer, then of the output; `devices` are those in use.

    `first` is the first device that the engine may use, with layers or without.
    """

    layers: tuple[str, ...]
    output: str
    devices: tuple[str, ...]
    first: str | None = None

    @property
    def whole(self) -> bool:
        """Whether all layers are on devices."""
        return HOST not in (*self.layers, self.output)

    @property
    def on_devices(self) -> int:
        """The number of layers on devices, the output included."""
        return sum(name != HOST for name in (*self.layers, self.output))


def place_layers(place: ModelPlace, count: int, devices: Sequence[Device], layers: int | None = None) -> LayerPlaces:
    """The places of `count` layers and the output; `layers` replaces the number of `place` on devices.

    Devices take layers in the proportions of the split, or of their free memory without one.
    """
    in_use = _chosen(place, devices)
    on_devices = place.layers if layers is None else layers
    on_devices = min(ALL_LAYERS if on_devices is None else on_devices, count + 1) if in_use else 0
    first = count + 1 - on_devices
    shares = _shares(place, in_use)
    names = [HOST] * first
    for at in range(on_devices):
        position = at / max(on_devices, 1)
        names.append(next((d.name for d, end in zip(in_use, shares, strict=True) if position < end), in_use[-1].name))
    used = tuple(dict.fromkeys(name for name in names if name != HOST))
    return LayerPlaces(tuple(names[:count]), names[count], used, in_use[0].name if in_use else None)


def _chosen(place: ModelPlace, devices: Sequence[Device]) -> list[Device]:
    """The devices that the flags name, in their order; llama.cpp ignores the case of names."""
    chosen = list(devices)
    if place.devices is not None:
        by_name = {device.name.lower(): device for device in devices}
        chosen = [by_name[name.lower()] for name in place.devices if name.lower() in by_name]
    if place.split_mode == "none" and chosen:
        chosen = [chosen[place.main if 0 <= place.main < len(chosen) else 0]]
    return chosen


def _shares(place: ModelPlace, devices: Sequence[Device]) -> list[float]:
    """The cumulative share of the layers for each device."""
    given = [*place.split[: len(devices)], *[0.0] * (len(devices) - len(place.split))]
    weights = given if any(given) else [float(max(device.free, 1)) for device in devices]
    total = sum(weights)
    return [end / total for end in accumulate(weights)]
