"""The bytes of the compute buffers. Pure.

llama.cpp plans a graph for a whole batch and keeps the largest set of tensors alive at once. The masks of the cache are
always alive. Beside them is the widest step of a layer, or the logits of the output tokens. The factors were fitted to
b11434's reports for models of several architectures (tests/engine/test_footprint.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from app.engine.footprint.attention import copied_cache, has_flash
from app.engine.footprint.cache import cells, window_cells
from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import LoadOptions, ModelPlace
from app.engine.footprint.model_shape import ModelShape
from app.engine.footprint.placement import LayerPlaces

_FLOAT, _HALF = 4, 2
# Copies of a step's input if several devices work on steps at once (GGML_SCHED_MAX_COPIES)
_PIPELINE = 4


def compute_by_device(
    shape: ModelShape,
    options: LoadOptions,
    place: ModelPlace,
    places: LayerPlaces,
    context: int,
    largest: int = 0,
) -> Counter[str]:
    """Device -> bytes. Each device with layers has its own buffers, and the host has the inputs.

    `largest` is the largest tensor of a layer on the host. It is copied to the device that helps with large steps.
    """
    options = options if has_flash(shape, options, place, places) else replace(options, flash=False)
    masks, scores = _attention(shape, options, context)
    tokens = min(options.ubatch, context)
    inputs, widest = tokens * _FLOAT * shape.width, tokens * _FLOAT * _widest(shape, options)
    step = _RESIDUALS * inputs + widest + scores
    outputs = 0 if shape.encoder else _outputs(options, tokens)
    logits = outputs * shape.vocabulary * _FLOAT + _RESIDUALS * inputs
    pipelined = len(places.devices) > 1 and places.whole
    helper = _helper(options, places)
    sizes: Counter[str] = Counter()
    if places.first is not None:
        sizes[HOST] += masks + _HOST_INPUTS * inputs
    if not places.whole and helper is None:
        sizes[HOST] = max(sizes[HOST], masks + max(step, logits if places.output == HOST else 0))
    for device in dict.fromkeys((*places.devices, *([helper] if helper else ()))):
        most = max(step if device in places.devices else 0, logits if device == places.output else 0)
        copies = copied_cache(shape, options, place, places, context, device)
        most = max(most, copies + _RESIDUALS * inputs + scores if copies else 0)
        if device == helper:
            most = max(most, largest + widest + _RESIDUALS * inputs // 2)
        sizes[device] += masks * (_PIPELINE if pipelined else 1) + most
    return sizes


def _helper(options: LoadOptions, places: LayerPlaces) -> str | None:
    """The device that computes large steps for layers on the host, if any."""
    needed = options.helps and (HOST in places.layers or not options.cache_on_devices)
    return places.first if needed and places.first is not None and places.first.startswith(_HELPERS) else None


def output_bytes(shape: ModelShape, options: LoadOptions) -> int:
    """Bytes of the host's copy of the logits, or of an encoder's results, one row per slot."""
    return options.slots * (shape.width if shape.encoder else shape.vocabulary) * _FLOAT


# Of the host: the inputs, and what it makes of them for the first layer
_HOST_INPUTS = 4
# Backends that compute steps of many tokens for layers on the host
_HELPERS = ("CUDA", "ROCm", "Vulkan", "SYCL")
# Copies of the residual stream that are alive beside a layer's widest step
_RESIDUALS = 5


def _widest(shape: ModelShape, options: LoadOptions) -> int:
    """Numbers per token in a layer's widest step: gate, up and their product, or queries and their results."""
    attention = 3 * shape.heads * shape.head_size - 4 * shape.width
    if not options.flash:
        attention += 2 * shape.kv_width
    return max(3 * shape.hidden, 3 * shape.experts_hidden, attention, 13 * shape.inner // 2 - 3 * shape.width, 0)


def _attention(shape: ModelShape, options: LoadOptions, context: int) -> tuple[int, int]:
    """Bytes of the masks, and of the scores, which exist only without flash attention."""
    stream, _ = cells(options, context)
    tokens = min(options.ubatch, context)
    number = _HALF if options.flash else _FLOAT
    kinds = {layer.sliding for layer in shape.layers if layer.key}
    lengths = [window_cells(options, shape, stream) if sliding else stream for sliding in kinds]
    if shape.encoder:
        lengths = [tokens]
    # Tokens of a stream see only its own cells.
    masks = sum(length * tokens * number for length in lengths)
    scores = 0 if options.flash else max(lengths, default=0) * tokens * shape.heads * _FLOAT
    return masks, scores


def _outputs(options: LoadOptions, tokens: int) -> int:
    """Rows of logits in one step: each slot's last token and its drafted ones, or all tokens for embeddings."""
    return tokens if options.embeddings else min(options.slots * (1 + options.drafted), tokens)
