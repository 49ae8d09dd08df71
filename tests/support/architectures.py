"""GGUF files of several architectures for what they take of memory: real shapes, all weights zero.

They load, and say nothing worth reading. Numbers are small, but far apart, so that a mistaken factor shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import gguf
import numpy as np

from tests.support.tiny_models import BOS, EOS, SPECIALS, _byte_letters

CONTEXT = 65536
WIDTH, BLOCKS, HEADS, KV_HEADS, HEAD, HIDDEN, VOCABULARY = 256, 4, 4, 2, 64, 512, 512
WINDOW = 1024
EXPERTS, USED = 8, 2
# Of deepseek2: low-rank queries, latent keys and values, the part of a head that turns and the rest
QUERY_RANK, LATENT, ROPE, PLAIN = 96, 128, 32, 32
INNER, STATE, RANK, KERNEL = 512, 16, 16, 4
CONVOLUTION = 3  # of lfm2

Shapes = dict[str, tuple[int, ...]]
Value = int | float | list[int]
# Small, and computed with: llama.cpp wants them as they are
_FLOATS = ("norm.weight", "inp.weight", "conv1d.weight", "conv.weight", "ssm_a", "ssm_d", "bias", "sinks.weight")


def write_llama(
    path: Path,
    *,
    width: int = WIDTH,
    blocks: int = BLOCKS,
    vocabulary: int = VOCABULARY,
    tied: bool = False,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16,
) -> Path:
    """Attention with grouped heads."""
    heads = width // HEAD
    keys = _keys(width, blocks, heads)
    tensors = _frame(width, vocabulary, tied) | _attention(width, blocks, heads) | _dense(width, blocks)
    return _write(path, "llama", keys, tensors, vocabulary, kind)


def write_qwen3(path: Path) -> Path:
    """Heads wider than the model's share of them, and with norms."""
    keys = _keys(WIDTH, BLOCKS, HEADS) | {"attention.key_length": 2 * HEAD, "attention.value_length": 2 * HEAD}
    keys["rope.dimension_count"] = 2 * HEAD
    attention = _attention(WIDTH, BLOCKS, HEADS, 2 * HEAD) | _head_norms(BLOCKS, 2 * HEAD)
    return _write(path, "qwen3", keys, _frame(WIDTH, VOCABULARY) | attention | _dense(WIDTH, BLOCKS))


def write_gemma3(path: Path) -> Path:
    """Five layers of six slide; the output is the embedding's."""
    blocks = 12
    keys = _keys(WIDTH, blocks, HEADS) | {"attention.sliding_window": WINDOW}
    tensors = _frame(WIDTH, VOCABULARY, tied=True) | _attention(WIDTH, blocks, HEADS) | _head_norms(blocks, HEAD)
    for block in range(blocks):
        tensors |= {f"blk.{block}.post_{part}.weight": (WIDTH,) for part in ("attention_norm", "ffw_norm")}
    return _write(path, "gemma3", keys, tensors | _dense(WIDTH, blocks))


def write_experts(path: Path) -> Path:
    """A mixture: two of eight experts are used."""
    keys = _keys(WIDTH, BLOCKS, HEADS) | {"expert_count": EXPERTS, "expert_used_count": USED}
    tensors = _frame(WIDTH, VOCABULARY) | _attention(WIDTH, BLOCKS, HEADS)
    for block in range(BLOCKS):
        tensors |= {f"blk.{block}.ffn_norm.weight": (WIDTH,)} | _experts(f"blk.{block}", HIDDEN)
    return _write(path, "llama", keys, tensors)


def write_deepseek2(path: Path) -> Path:
    """Latent attention, in the form that llama.cpp keeps small; the first layer is dense, the others have experts."""
    hidden = 128
    keys = _keys(WIDTH, BLOCKS, HEADS) | {
        "attention.head_count_kv": 1,
        "attention.q_lora_rank": QUERY_RANK,
        "attention.kv_lora_rank": LATENT,
        "attention.key_length": LATENT + ROPE,
        "attention.value_length": LATENT,
        "attention.key_length_mla": ROPE + PLAIN,
        "attention.value_length_mla": PLAIN,
        "rope.dimension_count": ROPE,
        "leading_dense_block_count": 1,
        "expert_count": EXPERTS,
        "expert_used_count": USED,
        "expert_shared_count": 1,
        "expert_feed_forward_length": hidden,
        "expert_weights_scale": 1.0,
        "expert_gating_func": 2,
    }
    tensors = _frame(WIDTH, VOCABULARY) | _dense(WIDTH, 1)
    for block in range(BLOCKS):
        name = f"blk.{block}"
        tensors |= _latent_attention(name) | {f"{name}.ffn_norm.weight": (WIDTH,)}
        if block:
            tensors |= _experts(name, hidden) | _feed_forward(name, "_shexp", WIDTH, hidden)
            tensors[f"{name}.exp_probs_b.bias"] = (EXPERTS,)
    return _write(path, "deepseek2", keys, tensors)


def write_mamba(path: Path) -> Path:
    """No cache at all, a state for each slot."""
    keys: dict[str, Value] = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": BLOCKS,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": KERNEL,
        "ssm.inner_size": INNER,
        "ssm.state_size": STATE,
        "ssm.time_step_rank": RANK,
    }
    tensors = _frame(WIDTH, VOCABULARY, tied=True)
    for block in range(BLOCKS):
        shapes: Shapes = {
            "attn_norm.weight": (WIDTH,),
            "ssm_in.weight": (2 * INNER, WIDTH),
            "ssm_conv1d.weight": (INNER, KERNEL),
            "ssm_conv1d.bias": (INNER,),
            "ssm_x.weight": (RANK + 2 * STATE, INNER),
            "ssm_dt.weight": (INNER, RANK),
            "ssm_dt.bias": (INNER,),
            "ssm_a": (INNER, STATE),
            "ssm_d": (INNER,),
            "ssm_out.weight": (WIDTH, INNER),
        }
        tensors |= {f"blk.{block}.{part}": shape for part, shape in shapes.items()}
    return _write(path, "mamba", keys, tensors)


def write_lfm2(path: Path) -> Path:
    """One layer of four attends, the others carry a short convolution."""
    blocks = 8
    kv_heads = [0 if block % 4 else KV_HEADS for block in range(blocks)]
    keys = _keys(WIDTH, blocks, HEADS) | {"attention.head_count_kv": kv_heads, "shortconv.l_cache": CONVOLUTION}
    tensors: Shapes = {"token_embd.weight": (VOCABULARY, WIDTH), "token_embd_norm.weight": (WIDTH,)}
    attention = _attention(WIDTH, blocks, HEADS) | _head_norms(blocks, HEAD)
    for block, heads in enumerate(kv_heads):
        name = f"blk.{block}."
        if heads:
            tensors |= {key: shape for key, shape in attention.items() if key.startswith(name)}
        else:
            tensors |= {
                f"{name}attn_norm.weight": (WIDTH,),
                f"{name}shortconv.conv.weight": (WIDTH, CONVOLUTION),
                f"{name}shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
                f"{name}shortconv.out_proj.weight": (WIDTH, WIDTH),
            }
    return _write(path, "lfm2", keys, tensors | _dense(WIDTH, blocks))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "llama": write_llama,
    "qwen3": write_qwen3,
    "gemma3": write_gemma3,
    "experts": write_experts,
    "deepseek2": write_deepseek2,
    "mamba": write_mamba,
    "lfm2": write_lfm2,
}


def with_random_weights(path: Path, seed: int = 7) -> Path:
    """Makes a model of this module say something of its own, the same on every run."""
    generator = np.random.default_rng(seed)
    for tensor in gguf.GGUFReader(path, "r+").tensors:
        shape = tensor.data.shape
        if tensor.name.endswith("norm.weight"):
            tensor.data[:] = 1
        elif tensor.name.endswith("ssm_a"):
            tensor.data[:] = -generator.uniform(0.1, 1, shape)
        else:
            tensor.data[:] = generator.standard_normal(shape) / np.sqrt(shape[-1])
    return path


def _keys(width: int, blocks: int, heads: int) -> dict[str, Value]:
    return {
        "context_length": CONTEXT,
        "embedding_length": width,
        "block_count": blocks,
        "feed_forward_length": HIDDEN,
        "attention.head_count": heads,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "rope.dimension_count": HEAD,
    }


def _frame(width: int, vocabulary: int, tied: bool = False) -> Shapes:
    frame: Shapes = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,)}
    return frame if tied else frame | {"output.weight": (vocabulary, width)}


def _attention(width: int, blocks: int, heads: int, head: int = HEAD) -> Shapes:
    shapes: Shapes = {
        "attn_norm.weight": (width,),
        "attn_q.weight": (heads * head, width),
        "attn_k.weight": (KV_HEADS * head, width),
        "attn_v.weight": (KV_HEADS * head, width),
        "attn_output.weight": (width, heads * head),
    }
    return {f"blk.{block}.{part}": shape for block in range(blocks) for part, shape in shapes.items()}


def _latent_attention(name: str) -> Shapes:
    shapes: Shapes = {
        "attn_norm.weight": (WIDTH,),
        "attn_q_a.weight": (QUERY_RANK, WIDTH),
        "attn_q_a_norm.weight": (QUERY_RANK,),
        "attn_q_b.weight": (HEADS * (ROPE + PLAIN), QUERY_RANK),
        "attn_kv_a_mqa.weight": (LATENT + ROPE, WIDTH),
        "attn_kv_a_norm.weight": (LATENT,),
        "attn_k_b.weight": (HEADS, LATENT, PLAIN),
        "attn_v_b.weight": (HEADS, PLAIN, LATENT),
        "attn_output.weight": (WIDTH, HEADS * PLAIN),
    }
    return {f"{name}.{part}": shape for part, shape in shapes.items()}


def _head_norms(blocks: int, head: int) -> Shapes:
    return {f"blk.{block}.attn_{part}_norm.weight": (head,) for block in range(blocks) for part in "qk"}


def _dense(width: int, blocks: int) -> Shapes:
    shapes: Shapes = {f"blk.{block}.ffn_norm.weight": (width,) for block in range(blocks)}
    for block in range(blocks):
        shapes |= _feed_forward(f"blk.{block}", "", width, HIDDEN)
    return shapes


def _feed_forward(name: str, suffix: str, width: int, hidden: int) -> Shapes:
    return {
        f"{name}.ffn_gate{suffix}.weight": (hidden, width),
        f"{name}.ffn_up{suffix}.weight": (hidden, width),
        f"{name}.ffn_down{suffix}.weight": (width, hidden),
    }


def _experts(name: str, hidden: int) -> Shapes:
    one = _feed_forward(name, "_exps", WIDTH, hidden)
    return {key: (EXPERTS, *shape) for key, shape in one.items()} | {f"{name}.ffn_gate_inp.weight": (EXPERTS, WIDTH)}


def _texts(count: int) -> Iterator[str]:
    yield from (*SPECIALS, *_byte_letters())
    yield from (f"word{number}" for number in range(count - len(SPECIALS) - 256))


def _write(
    path: Path,
    architecture: str,
    keys: Mapping[str, Value],
    tensors: Shapes,
    vocabulary: int = VOCABULARY,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F16,
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**keys, "vocab_size": vocabulary}.items():
        if isinstance(value, list):
            writer.add_array(f"{architecture}.{key}", value)
        elif isinstance(value, bool):
            writer.add_bool(f"{architecture}.{key}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"{architecture}.{key}", value)
        else:
            writer.add_float32(f"{architecture}.{key}", value)
    if architecture == "bert":
        writer.add_token_type_count(2)
    texts = list(_texts(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(texts)
    special = [gguf.TokenType.CONTROL] * len(SPECIALS)
    writer.add_token_types(special + [gguf.TokenType.NORMAL] * (len(texts) - len(SPECIALS)))
    writer.add_token_merges(["e t"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    for name, shape in tensors.items():
        if name.endswith(_FLOATS):
            writer.add_tensor(name, np.zeros(shape, np.float32))
        else:
            writer.add_tensor(name, gguf.quants.quantize(np.zeros(shape, np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
