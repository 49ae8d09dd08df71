"""Checks cache types against the model and flash attention, and computes the cache's least size. Pure.

The rules are those of llama_init_from_model (b11434). A quantized V cache needs flash attention. With flash attention,
the blocks of a quantized type must divide the head size.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.arguments import EntryFlag
from app.engine.dialect import Dialect
from app.models.gguf.header import Header
from app.models.gguf.places import head_sizes

_BLOCK = dict.fromkeys(("q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"), 32)
# Bytes per number of the cache, in blocks of 32 for the quantized types
BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q4_0": 18 / 32,
    "q4_1": 20 / 32,
    "iq4_nl": 18 / 32,
    "q5_0": 22 / 32,
    "q5_1": 24 / 32,
}
_K, _V = ("-ctk", "--cache-type-k"), ("-ctv", "--cache-type-v")
_FLASH = ("-fa", "--flash-attn")
_OFF = frozenset(["off", "disabled", "false", "0"])
# Layers with these keys keep fewer tokens, or other data than keys and values.
_LESS = ("attention.sliding_window", "ssm.state_size", "ssm.inner_size", "wkv.head_size", "attention.kv_lora_rank")


def cache_problem(given: Sequence[EntryFlag], dialect: Dialect, header: Header) -> str:
    """A sentence if the engine would refuse the types of its cache; empty if it accepts them."""
    key, value = _last(given, _K, "f16"), _last(given, _V, "f16")
    if value in _BLOCK and _flash(given, dialect) is False:
        return f"args: a quantized V cache ({value}) needs flash attention, which is off: add {_on(dialect)} to args."
    sizes = head_sizes(header)
    if sizes is None or _flash(given, dialect) is False:
        return ""
    for name, kind, size in (("K", key, sizes[0]), ("V", value, sizes[1])):
        if kind in _BLOCK and size % _BLOCK[kind]:
            return (
                f"args: the {name} cache type {kind} comes in blocks of {_BLOCK[kind]}, which do not divide "
                f"this model's head size of {size}; use f16, bf16 or f32."
            )
    return ""


def least_cache(header: Header, context: int, given: Sequence[EntryFlag]) -> int:
    """Bytes of the cache for `context` tokens; 0 if the header does not show it."""
    layers, heads, sizes = header.block_count, header.number("{arch}.attention.head_count_kv"), head_sizes(header)
    if not layers or not heads or sizes is None or any(header.number("{arch}." + key) for key in _LESS):
        return 0
    each = sizes[0] * BYTES.get(_last(given, _K, "f16"), 0) + sizes[1] * BYTES.get(_last(given, _V, "f16"), 0)
    return int(context * layers * heads * each)


def _flash(given: Sequence[EntryFlag], dialect: Dialect) -> bool | None:
    """None if the engine decides."""
    if "--flash-attn" in dialect.flags and "--flash-attn" not in dialect.takes_value:  # a switch, off unless given
        return any(flag.name in _FLASH for flag in given)
    word = _last(given, _FLASH, "auto")
    return None if word in ("auto", "-1") else word not in _OFF


def _on(dialect: Dialect) -> str:
    return '[--flash-attn, "on"]' if "--flash-attn" in dialect.takes_value else "[--flash-attn]"


def _last(given: Sequence[EntryFlag], names: tuple[str, ...], default: str) -> str:
    """The value that counts if a flag is given more than once."""
    return next((flag.values[0] for flag in reversed(given) if flag.name in names and flag.values), default)
