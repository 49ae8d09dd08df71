"""The bytes of a multimodal projector: its weights, and the buffers for the largest image. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from app.engine.footprint.footprint import FootprintPart, parts
from app.models.gguf.header import Header
from app.models.gguf.tensors import Tensor

_FLOAT = 4
# Audio is processed in pieces of 30 s, 1,500 positions of an encoder
_AUDIO_POSITIONS = 1500
_RESIDUALS = 5


def projector_parts(header: Header, tensors: Iterable[Tensor], device: str) -> list[FootprintPart]:
    """The parts of a projector, all on one device."""
    sizes = {device: sum(tensor.size for tensor in tensors)}
    compute = sum(_encoder(header, kind) for kind in ("vision", "audio"))
    return [*parts("projector", "weights", sizes), *parts("projector", "compute", {device: compute})]


def _encoder(header: Header, kind: str) -> int:
    """Bytes of the scores of all position pairs, and of a layer's widest step."""
    number = header.number
    width, hidden = number(f"clip.{kind}.embedding_length") or 0, number(f"clip.{kind}.feed_forward_length") or 0
    if not width:
        return 0
    image, patch = number("clip.vision.image_size") or 0, number("clip.vision.patch_size") or 0
    positions = _AUDIO_POSITIONS if kind == "audio" else (image // patch) ** 2 if image and patch else 0
    heads = number(f"clip.{kind}.attention.head_count") or 1
    return positions * (_RESIDUALS * width + 2 * hidden + positions * heads) * _FLOAT
