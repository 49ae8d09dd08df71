"""The bytes of a model's weights on each device. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import ModelPlace
from app.engine.footprint.placement import LayerPlaces
from app.models.gguf.tensors import Tensor

_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"\.ffn_(?:up|down|gate|gate_up)_(?:ch|)exps\.")
_DENSE = re.compile(r"\.ffn_(?:up|down|gate)\.")
# Read one row at a time, so the host keeps them.
_INPUTS = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")
# ggml's numbers of the types that a processor without a device repacks: Q4_0, Q4_K, IQ4_NL, MXFP4.
_REPACKED = frozenset({2, 12, 20, 39})


def weights_by_device(
    tensors: Iterable[Tensor], place: ModelPlace, places: LayerPlaces, *, repacks: bool, encoder: bool = False
) -> Counter[str]:
    """Device -> bytes. `repacks`: the processor uses its own layouts, so a tied output needs a copy.

    An `encoder` has no output.
    """
    sizes: Counter[str] = Counter()
    embedding, has_output = None, False
    for tensor in tensors:
        device = _device(tensor.name, place, places)
        sizes[device] += tensor.size
        if tensor.name == "token_embd.weight":
            embedding = tensor
        has_output |= tensor.name == "output.weight"
    if embedding is not None and not has_output and not encoder:
        # Tied: the output layer reads the same numbers, from its own copy if it is on another device.
        copied = places.output != HOST or (repacks and embedding.kind in _REPACKED)
        sizes[places.output] += embedding.size if copied else 0
    return sizes


def largest_on_host(tensors: Iterable[Tensor], place: ModelPlace, places: LayerPlaces) -> int:
    """Bytes of the largest tensor of a layer that the host keeps."""
    blocks = (tensor for tensor in tensors if _BLOCK.match(tensor.name))
    return max((tensor.size for tensor in blocks if _device(tensor.name, place, places) == HOST), default=0)


def _device(name: str, place: ModelPlace, places: LayerPlaces) -> str:
    for pattern, kind in place.overrides:
        if _matches(pattern, name):
            return HOST if kind.upper().startswith("CPU") or kind.upper().endswith("_HOST") else kind
    block = _BLOCK.match(name)
    if block is None:
        return HOST if name.startswith(_INPUTS) else places.output
    layer = int(block[1])
    on_host = (layer < place.cpu_experts and _EXPERTS.search(name)) or (layer < place.cpu_ffn and _DENSE.search(name))
    return HOST if on_host or layer >= len(places.layers) else places.layers[layer]


def _matches(pattern: str, name: str) -> bool:
    expression = _compiled(pattern)
    return expression is not None and expression.search(name) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for a pattern in llama.cpp's syntax that Python's lacks: it then moves no tensor."""
    try:
        return re.compile(pattern)
    except re.error:
        return None
