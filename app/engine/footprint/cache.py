"""The bytes of the cache: keys and values of each token, and the state of recurrent layers for a slot. Pure.

After llama_kv_cache, its variant for sliding windows, and llama_memory_recurrent (b11434).
"""

from __future__ import annotations

from collections import Counter

from app.engine.footprint.load_options import LoadOptions, ModelPlace
from app.engine.footprint.model_shape import LayerShape, ModelShape
from app.engine.kv_cache import BYTES

_CELLS = 256  # caches are multiples of so many tokens
_STATE_BYTES = 4


def cells(options: LoadOptions, context: int) -> tuple[int, int]:
    """The tokens of a cache stream, and the number of streams: one per slot, or one shared by all."""
    streams = 1 if options.unified else options.slots
    return _padded(max(-(-_padded(context) // streams), 1)), streams


def window_cells(options: LoadOptions, shape: ModelShape, stream: int) -> int:
    """The tokens of a stream for sliding layers: the window, and those of a step before old ones are dropped."""
    if options.full_windows:
        return stream
    slots = options.slots if options.unified else 1
    return min(_padded(min(stream, shape.window * slots + options.ubatch)), stream)


def cache_by_device(
    shape: ModelShape, options: LoadOptions, place: ModelPlace, where: tuple[str, ...], context: int
) -> Counter[str]:
    """Device -> bytes; `where` is the device of each layer's cache."""
    stream, streams = cells(options, context)
    window = window_cells(options, shape, stream)
    sizes: Counter[str] = Counter()
    for layer, device in zip(shape.layers, where, strict=True):
        tokens = streams * (window if layer.sliding else stream)
        sizes[device] += int(tokens * bytes_of_token(layer, place)) + layer.state * _STATE_BYTES * options.slots
    return sizes


def bytes_of_token(layer: LayerShape, place: ModelPlace) -> float:
    """Bytes of one token in one layer."""
    return layer.key * BYTES.get(place.key_type, 2.0) + layer.value * BYTES.get(place.value_type, 2.0)


def _padded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS
