"""GGUF files of encoders, of newer recurrent layers and of sliding windows with sinks: see architectures.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.architectures import (
    BLOCKS,
    EXPERTS,
    HEAD,
    HEADS,
    HIDDEN,
    INNER,
    KERNEL,
    KV_HEADS,
    USED,
    VOCABULARY,
    WIDTH,
    WINDOW,
    Shapes,
    Value,
    _attention,
    _dense,
    _frame,
    _keys,
    _write,
)

# Of layers with a scalar state per head: heads, groups and the state's size
STATE_HEADS, GROUPS, STATE = 8, 1, 64
ENCODER_CONTEXT = 8192


def write_bert(path: Path) -> Path:
    """An encoder: no cache, and no output layer for its large vocabulary."""
    vocabulary = 65536
    keys: dict[str, Value] = {
        "context_length": ENCODER_CONTEXT,
        "embedding_length": WIDTH,
        "block_count": BLOCKS,
        "feed_forward_length": HIDDEN,
        "attention.head_count": HEADS,
        "attention.layer_norm_epsilon": 1e-5,
        "attention.causal": False,
        "pooling_type": 1,
    }
    tensors: Shapes = {
        "token_embd.weight": (vocabulary, WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (ENCODER_CONTEXT, WIDTH),
        "token_embd_norm.weight": (WIDTH,),
        "token_embd_norm.bias": (WIDTH,),
    }
    for block in range(BLOCKS):
        shapes: Shapes = {f"attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        shapes |= {f"attn_{part}.bias": (WIDTH,) for part in ("q", "k", "v", "output")}
        shapes |= {f"{part}_norm.{kind}": (WIDTH,) for part in ("attn_output", "layer_output") for kind in _BOTH}
        shapes |= {"ffn_up.weight": (HIDDEN, WIDTH), "ffn_up.bias": (HIDDEN,)}
        shapes |= {"ffn_down.weight": (WIDTH, HIDDEN), "ffn_down.bias": (WIDTH,)}
        tensors |= {f"blk.{block}.{part}": shape for part, shape in shapes.items()}
    return _write(path, "bert", keys, tensors, vocabulary)


def write_mamba2(path: Path) -> Path:
    """A state per head, and groups."""
    keys: dict[str, Value] = {
        "context_length": 65536,
        "embedding_length": WIDTH,
        "block_count": BLOCKS,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        **_STATE_KEYS,
    }
    tensors = _frame(WIDTH, VOCABULARY)
    for block in range(BLOCKS):
        tensors |= _scalar_state(f"blk.{block}")
    return _write(path, "mamba2", keys, tensors)


def write_granitehybrid(path: Path) -> Path:
    """One layer of four attends, the others have a state; each has a dense part."""
    blocks = 8
    kv_heads = [0 if (block + 1) % 4 else KV_HEADS for block in range(blocks)]
    keys = _keys(WIDTH, blocks, HEADS) | {"attention.head_count_kv": kv_heads} | _STATE_KEYS
    keys |= {"logit_scale": 1.0, "residual_scale": 1.0, "embedding_scale": 1.0, "attention.scale": 0.1}
    tensors, attention = _frame(WIDTH, VOCABULARY), _attention(WIDTH, blocks, HEADS)
    for block, heads in enumerate(kv_heads):
        name = f"blk.{block}"
        own = {key: shape for key, shape in attention.items() if key.startswith(f"{name}.")}
        tensors |= own if heads else _scalar_state(name)
    return _write(path, "granitehybrid", keys, tensors | _dense(WIDTH, blocks))


def write_gpt_oss(path: Path) -> Path:
    """Every second layer slides; attention has sinks, and experts have biases."""
    blocks, hidden = 4, 128
    keys = _keys(WIDTH, blocks, HEADS) | {
        "attention.sliding_window": WINDOW,
        "expert_count": EXPERTS,
        "expert_used_count": USED,
        "expert_feed_forward_length": hidden,
    }
    tensors = _frame(WIDTH, VOCABULARY) | _attention(WIDTH, blocks, HEADS)
    for block in range(blocks):
        shapes: Shapes = {
            "post_attention_norm.weight": (WIDTH,),
            "attn_sinks.weight": (HEADS,),
            "attn_q.bias": (HEADS * HEAD,),
            "attn_k.bias": (KV_HEADS * HEAD,),
            "attn_v.bias": (KV_HEADS * HEAD,),
            "attn_output.bias": (WIDTH,),
            "ffn_gate_inp.weight": (EXPERTS, WIDTH),
            "ffn_gate_inp.bias": (EXPERTS,),
            **{f"ffn_{part}_exps.weight": (EXPERTS, hidden, WIDTH) for part in ("gate", "up")},
            **{f"ffn_{part}_exps.bias": (EXPERTS, hidden) for part in ("gate", "up")},
            "ffn_down_exps.weight": (EXPERTS, WIDTH, hidden),
            "ffn_down_exps.bias": (EXPERTS, WIDTH),
        }
        tensors |= {f"blk.{block}.{part}": shape for part, shape in shapes.items()}
    return _write(path, "gpt-oss", keys, tensors)


def write_phi3(path: Path) -> Path:
    """Queries, keys and values in one tensor, and a window in the file that llama.cpp does not use."""
    keys = _keys(WIDTH, BLOCKS, HEADS) | {"attention.sliding_window": WINDOW}
    keys["rope.scaling.original_context_length"] = 4096
    tensors = _frame(WIDTH, VOCABULARY)
    for block in range(BLOCKS):
        shapes: Shapes = {
            "attn_norm.weight": (WIDTH,),
            "attn_qkv.weight": (HEADS * HEAD + 2 * KV_HEADS * HEAD, WIDTH),
            "attn_output.weight": (WIDTH, HEADS * HEAD),
            "ffn_norm.weight": (WIDTH,),
            "ffn_up.weight": (2 * HIDDEN, WIDTH),
            "ffn_down.weight": (WIDTH, HIDDEN),
        }
        tensors |= {f"blk.{block}.{part}": shape for part, shape in shapes.items()}
    return _write(path, "phi3", keys, tensors)


MORE_WRITERS: dict[str, Callable[[Path], Path]] = {
    "bert": write_bert,
    "mamba2": write_mamba2,
    "granitehybrid": write_granitehybrid,
    "gpt-oss": write_gpt_oss,
    "phi3": write_phi3,
}

_BOTH = ("weight", "bias")
_STATE_KEYS: dict[str, Value] = {
    "ssm.conv_kernel": KERNEL,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": STATE_HEADS,
    "ssm.group_count": GROUPS,
}


def _scalar_state(name: str) -> Shapes:
    wide = INNER + 2 * GROUPS * STATE
    shapes: Shapes = {
        "attn_norm.weight": (WIDTH,),
        "ssm_in.weight": (INNER + wide + STATE_HEADS, WIDTH),
        "ssm_conv1d.weight": (wide, KERNEL),
        "ssm_conv1d.bias": (wide,),
        "ssm_dt.bias": (STATE_HEADS,),
        "ssm_a": (STATE_HEADS, 1),
        "ssm_d": (STATE_HEADS, 1),
        "ssm_norm.weight": (GROUPS, INNER // GROUPS),
        "ssm_out.weight": (WIDTH, INNER),
    }
    return {f"{name}.{part}": shape for part, shape in shapes.items()}
