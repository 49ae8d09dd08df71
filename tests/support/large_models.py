"""A GGUF file of real size: the shape of Llama 3 8B in Q8_0, and models with fewer or narrower layers of that shape.

The weights are random and of a sensible scale, so the model answers with words that mean nothing. Blocks repeat one
pool of numbers: gigabytes are written in seconds.
"""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.tiny_models import BOS, EOS, SPECIALS, _byte_letters

CONTEXT = 131072
WIDTH, HEAD, HIDDEN, VOCABULARY = 4096, 128, 14336, 128256
BLOCKS = 32
# Q8_0: a scale and 32 numbers
_GROUP = np.dtype([("scale", np.float16), ("numbers", np.int8, (32,))])
_POOL_BYTES = 64 << 20

Shapes = dict[str, tuple[int, int]]


def write_large(path: Path, *, blocks: int = BLOCKS, width: int = WIDTH, seed: int = 7, hollow: bool = False) -> Path:
    """`width` is a multiple of the size of a head, 128, by four: four heads share a key.

    A `hollow` file has no weights, but their size, and takes no room on most disks.
    """
    heads = width // HEAD
    matrices = _matrices(blocks, width, heads)
    norms = ["output_norm.weight", *(f"blk.{n}.{part}_norm.weight" for n in range(blocks) for part in ("attn", "ffn"))]
    writer = gguf.GGUFWriter(path, "llama")
    _add_keys(writer, blocks, width, heads)
    _add_vocabulary(writer)
    for name in norms:
        writer.add_tensor_info(name, (width,), np.dtype(np.float32), 4 * width)
    for name, (rows, columns) in matrices.items():
        size = rows * columns // 32 * _GROUP.itemsize
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor_info(name, (rows, columns), np.dtype(np.float16), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if hollow:
        writer.close()
        # Sizes of these widths are multiples of the alignment, 32
        weights = sum(rows * columns * 34 // 32 for rows, columns in matrices.values())
        os.truncate(path, -(-path.stat().st_size // 32) * 32 + weights + len(norms) * 4 * width)
        return path
    for _ in norms:
        writer.write_tensor_data(np.ones(width, np.float32))
    pool = _random(seed, width)
    for rows, columns in matrices.values():
        writer.write_tensor_data(np.resize(pool, rows * columns // 32))
    writer.close()
    return path


def size_of_block(width: int = WIDTH) -> int:
    """Bytes of the weights of one layer."""
    matrices = _matrices(1, width, width // HEAD).items()
    return sum(rows * columns for name, (rows, columns) in matrices if name.startswith("blk.")) * 34 // 32


def _matrices(blocks: int, width: int, heads: int) -> Shapes:
    hidden = HIDDEN * width // WIDTH
    shapes: Shapes = {"token_embd.weight": (VOCABULARY, width), "output.weight": (VOCABULARY, width)}
    for block in range(blocks):
        shapes |= {
            f"blk.{block}.attn_q.weight": (heads * HEAD, width),
            f"blk.{block}.attn_k.weight": (heads // 4 * HEAD, width),
            f"blk.{block}.attn_v.weight": (heads // 4 * HEAD, width),
            f"blk.{block}.attn_output.weight": (width, heads * HEAD),
            f"blk.{block}.ffn_gate.weight": (hidden, width),
            f"blk.{block}.ffn_up.weight": (hidden, width),
            f"blk.{block}.ffn_down.weight": (width, hidden),
        }
    return shapes


def _random(seed: int, width: int) -> NDArray[np.void]:
    """Numbers of about the size that keeps a layer's output as large as its input."""
    generator = np.random.default_rng(seed)
    pool = np.zeros(_POOL_BYTES // _GROUP.itemsize, _GROUP)
    pool["scale"] = 1 / (74 * np.sqrt(width))  # 74 is the deviation of numbers spread evenly from -128 to 127
    pool["numbers"] = generator.integers(-128, 128, (pool.size, 32), np.int8)
    return pool


def _add_keys(writer: gguf.GGUFWriter, blocks: int, width: int, heads: int) -> None:
    writer.add_name("large")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(HIDDEN * width // WIDTH)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads // 4)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    texts = [*SPECIALS, *_byte_letters()]
    texts += [f"word{number}" for number in range(VOCABULARY - len(texts))]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIALS) + [gguf.TokenType.NORMAL] * (VOCABULARY - len(SPECIALS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    writer.add_token_types(kinds)
    writer.add_token_merges(["e t"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
