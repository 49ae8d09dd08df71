"""Flash attention on a device: whether its backend has kernels for a model's heads, and copies of the cache. Pure.

After ggml-cuda's fattn.cu and llama.cpp's llama-context.cpp (b11434).
"""

from __future__ import annotations

from app.engine.footprint.cache import bytes_of_token, cells, window_cells
from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import LoadOptions, ModelPlace
from app.engine.footprint.model_shape import ModelShape
from app.engine.footprint.placement import LayerPlaces

# Backends that are built from ggml-cuda
_CUDA = ("CUDA", "ROCm", "MUSA")
# Sizes of a head's key with values of the same size, for any number of queries per key
_EQUAL = frozenset((40, 64, 72, 80, 96, 112, 128, 256))
# Key and value size -> what the number of queries per key must be a multiple of, and the least
_GROUPED = {(192, 128): (8, 8), (320, 256): (32, 32), (512, 512): (1, 2), (576, 512): (1, 2)}
_HALF = 2
_QUANTIZED_VALUES = ("q", "iq")


def has_flash(shape: ModelShape, options: LoadOptions, place: ModelPlace, places: LayerPlaces) -> bool:
    """Whether the engine uses flash attention. `auto` turns it off if a device with layers has no kernels for it."""
    if not options.flash or not options.flash_auto or place.value_type.startswith(_QUANTIZED_VALUES):
        return options.flash
    return _has_kernels(shape) or not any(device.startswith(_CUDA) for device in places.devices)


def _has_kernels(shape: ModelShape) -> bool:
    if not shape.heads or not any(layer.key for layer in shape.layers):
        return True
    if shape.key_size == shape.value_size and shape.key_size in _EQUAL:
        return True
    multiple, least = _GROUPED.get((shape.key_size, shape.value_size), (0, 0))
    group = shape.heads // max(shape.kv_heads, 1)
    return bool(multiple) and group >= least and group % multiple == 0


def copied_cache(
    shape: ModelShape, options: LoadOptions, place: ModelPlace, places: LayerPlaces, context: int, device: str
) -> int:
    """Bytes of one layer's cache that a device copies for a step: one on the host as it is, any other type as f16."""
    if not device.startswith(_CUDA) or not _has_kernels(shape):
        return 0
    stream, streams = cells(options, context)
    window = window_cells(options, shape, stream)
    most = 0.0
    for layer, where in zip(shape.layers, places.layers, strict=True):
        tokens = streams * (window if layer.sliding else stream)
        from_host = where == HOST or not options.cache_on_devices
        size = tokens * bytes_of_token(layer, place) if from_host and device == places.first else 0.0
        if options.flash and (where == device or from_host):
            widths = ((place.key_type, layer.key), (place.value_type, layer.value or layer.key))
            size += tokens * sum(width * _HALF for kind, width in widths if kind != "f16")
        most = max(most, size)
    return int(most)
