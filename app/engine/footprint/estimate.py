"""Estimates the footprint of a launch plan: target, draft, projector and adapters, part by part.

Pure, except for reading headers, which are cached. Sources: llama.cpp's src/llama-model.cpp (layers to devices),
llama-kv-cache*.cpp, llama-memory-recurrent.cpp and common/fit.cpp as of b11434. `--fit` shrinks what the plan leaves
open, so the same is done here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app.engine.devices import Device
from app.engine.footprint.cache import cache_by_device
from app.engine.footprint.compute import compute_by_device, output_bytes
from app.engine.footprint.footprint import HOST, Footprint, FootprintPart, Whose, parts
from app.engine.footprint.load_options import LoadOptions, ModelPlace, read_options
from app.engine.footprint.model_shape import ModelShape, shape_of
from app.engine.footprint.placement import place_layers
from app.engine.footprint.projector import projector_parts
from app.engine.footprint.weights import largest_on_host, weights_by_device
from app.models.gguf.filenames import shards
from app.models.gguf.header_cache import header_of, tensors_in
from app.models.gguf.tensors import Tensor

_STEP = 256  # tokens


def estimate(argv: Sequence[str], devices: Sequence[Device] = (), host: int | None = None) -> Footprint:
    """The footprint of an engine with this command line and `devices`, on a host with so many bytes.

    Raises GgufError.
    """
    options = read_options(argv)
    engine = _Engine(options, devices)
    own = options.context or engine.own_context
    if not options.fits:
        return engine.at(own)
    return _fitted(engine, own, devices, host)


def _fitted(engine: _Engine, own: int, devices: Sequence[Device], host: int | None) -> Footprint:
    """Applies `--fit`: first a smaller context if none is given, then fewer layers on devices."""
    options = engine.options
    free = {device.name: device.free - engine.options.margin(at) for at, device in enumerate(devices)}
    if host is not None and not devices:
        free[HOST] = host - engine.options.margin(0)
    if fits_in(engine.at(own), free):
        return engine.at(own)
    if not options.context:
        least = min(options.least_context, own)
        if fits_in(engine.at(least), free):
            return engine.at(_largest(engine, least, own, free))
        own = least
    if options.place.layers is not None or options.place.split or options.place.overrides or not devices:
        return engine.at(own)
    return _fewest_moved(engine, own, free)


def fits_in(footprint: Footprint, free: Mapping[str, int]) -> bool:
    """Whether each device in `free` has room for its part."""
    return all(size <= free[name] for name, size in footprint.by_device().items() if name in free)


def _largest(engine: _Engine, least: int, full: int, free: Mapping[str, int]) -> int:
    """The largest context that fits; `least` fits."""
    low, high = least // _STEP, -(-full // _STEP)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits_in(engine.at(middle * _STEP), free) else (low, middle)
    return max(low * _STEP, least)


def _fewest_moved(engine: _Engine, context: int, free: Mapping[str, int]) -> Footprint:
    """With as many layers on devices as fit there."""
    low, high = 0, engine.most_layers
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits_in(engine.at(context, middle), free) else (low, middle)
    return engine.at(context, low)


class _Engine:
    """The files' headers, read once; `at` computes the footprint for a context."""

    def __init__(self, options: LoadOptions, devices: Sequence[Device]) -> None:
        self.options = options
        self._devices = devices
        target = header_of(Path(options.target))
        self._target = (shape_of(target), _tensors(options.target))
        self._heads = shape_of(target, mtp=True) if options.mtp and options.draft is None else None
        self._draft = _model(options.draft)
        projector = Path(options.projector) if options.projector else None
        device = devices[0].name if devices and options.projector_on_device else HOST
        self._fixed = [
            *(projector_parts(header_of(projector), tensors_in(projector), device) if projector else ()),
            *_adapters(options.adapters, devices[0].name if devices else HOST),
        ]

    @property
    def own_context(self) -> int:
        """The default context: the trained one for each slot, or for all that share one cache."""
        return self._target[0].trained_context * (1 if self.options.unified else self.options.slots)

    @property
    def most_layers(self) -> int:
        return len(self._target[0].layers) + 1

    def at(self, context: int, layers: int | None = None) -> Footprint:
        """The footprint for a context of the whole process, with `layers` of the target on devices if given."""
        shape, tensors = self._target
        whole = self._model("target", shape, tensors, self.options.place, context, layers)
        if self._draft is not None:
            whole += self._model("draft", *self._draft, self.options.draft_place, context)
        elif self._heads is not None:
            whole += self._model("draft", self._heads, (), self.options.draft_place, context)
        return Footprint((*whole, *self._fixed), context, self.options.maps_files)

    def _model(
        self,
        whose: Whose,
        shape: ModelShape,
        tensors: Sequence[Tensor],
        place: ModelPlace,
        context: int,
        layers: int | None = None,
    ) -> list[FootprintPart]:
        options = self.options if whose == "target" else replace(self.options, drafted=0)
        places = place_layers(place, len(shape.layers), self._devices, layers)
        where = places.layers if options.cache_on_devices else (HOST,) * len(shape.layers)
        largest = largest_on_host(tensors, place, places)
        weights = weights_by_device(tensors, place, places, repacks=not self._devices, encoder=shape.encoder)
        return [
            *parts(whose, "weights", weights),
            *parts(whose, "cache", cache_by_device(shape, options, place, where, context)),
            *parts(whose, "compute", compute_by_device(shape, options, place, places, context, largest)),
            *parts(whose, "output", {HOST: output_bytes(shape, options)}),
        ]


def _model(path: str | None) -> tuple[ModelShape, tuple[Tensor, ...]] | None:
    return None if path is None else (shape_of(header_of(Path(path))), _tensors(path))


def _tensors(path: str) -> tuple[Tensor, ...]:
    """The tensors of all shards."""
    return tuple(tensor for shard in shards(Path(path)) for tensor in tensors_in(shard))


def _adapters(files: Iterable[str], device: str) -> list[FootprintPart]:
    sizes = [sum(tensor.size for tensor in tensors_in(Path(file))) for file in files]
    return list(parts("adapters", "weights", {device: sum(sizes)}))
