"""A vision projector with random weights, for the tiny target: it sees an image, and nothing in it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.support import tiny_models
from tests.support.tiny_models import Floats

WIDTH, HIDDEN, HEADS = 32, 64, 2
IMAGE, PATCH = 64, 16


def write_projector(path: Path) -> Path:
    """Gemma 3's, of one block: an image becomes one embedding of the target's width."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "gemma3")
    writer.add_bool("clip.use_gelu", True)
    numbers = {
        "image_size": IMAGE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "block_count": 1,
        "projection_dim": tiny_models.WIDTH,
        "attention.head_count": HEADS,
    }
    for key, number in numbers.items():
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    for key in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{key}", [0.5, 0.5, 0.5])
    for name, tensor in _tensors().items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> dict[str, Floats]:
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (WIDTH, 3, PATCH, PATCH),
        "v.patch_embd.bias": (WIDTH,),
        "v.position_embd.weight": ((IMAGE // PATCH) ** 2, WIDTH),
        "v.post_ln.weight": (WIDTH,),
        "v.post_ln.bias": (WIDTH,),
        "mm.input_projection.weight": (WIDTH, tiny_models.WIDTH),
        "mm.soft_emb_norm.weight": (WIDTH,),
        "v.blk.0.ffn_up.weight": (HIDDEN, WIDTH),
        "v.blk.0.ffn_up.bias": (HIDDEN,),
        "v.blk.0.ffn_down.weight": (WIDTH, HIDDEN),
        "v.blk.0.ffn_down.bias": (WIDTH,),
    }
    for part in ("ln1", "ln2"):
        shapes |= {f"v.blk.0.{part}.weight": (WIDTH,), f"v.blk.0.{part}.bias": (WIDTH,)}
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        shapes |= {f"v.blk.0.{part}.weight": (WIDTH, WIDTH), f"v.blk.0.{part}.bias": (WIDTH,)}
    generator = np.random.default_rng(tiny_models.SEED)
    tensors: dict[str, Floats] = {}
    for name, shape in shapes.items():
        norm = "ln" in name or "norm" in name
        tensors[name] = (np.ones(shape) if norm else generator.standard_normal(shape) * 0.1).astype(np.float32)
    return tensors
