"""Reads from a GGUF header what decides about memory: the sizes of each layer. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.footprint.sliding_windows import layers_with_cache, sliding_layers, window_of
from app.models.gguf.header import Header

# Layers of these architectures attend or carry a state, depending on whether they have heads for keys and values.
_BY_HEADS = frozenset(
    {"granitehybrid", "jamba", "kimi-linear", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "plamo2"}
)
_STATE_ONLY = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
_BOTH = frozenset({"falcon-h1"})
# Encoders: a step sees its own tokens only, so no cache is kept, and there is no output layer.
_ENCODERS = frozenset(
    {
        *("bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert"),
        *("nomic-bert", "nomic-bert-moe"),
    }
)
_MOST_LAYERS = 1024  # twice the size that llama.cpp allocates
_FULL_ATTENTION_EVERY = 4  # for qwen3next and similar, if the file lacks it


@dataclass(frozen=True, slots=True)
class LayerShape:
    """`key` and `value` are the cached numbers per token. `state` are those per slot, of any length.

    `sliding`: only a window's tokens are cached.
    """

    key: int = 0
    value: int = 0
    state: int = 0
    sliding: bool = False


@dataclass(frozen=True, slots=True)
class ModelShape:
    """`heads` and the sizes of heads are the largest of all layers. `window` is 0 without sliding layers.

    `encoder`: no cache and no output layer.
    """

    layers: tuple[LayerShape, ...]
    width: int
    hidden: int
    experts_hidden: int
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    inner: int
    vocabulary: int
    trained_context: int
    window: int
    encoder: bool = False

    @property
    def head_size(self) -> int:
        return max(self.key_size, self.value_size)

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_size


def shape_of(header: Header, *, mtp: bool = False) -> ModelShape:
    """The shape of the model, or of its layers for multi-token prediction alone. Raises GgufError."""
    blocks = min(header.block_count or 0, _MOST_LAYERS)
    ahead = min(header.number("{arch}.nextn_predict_layers") or 0, blocks)
    count = ahead if mtp else blocks - ahead
    heads, kv_heads = _each(header, "attention.head_count", blocks), _each(header, "attention.head_count_kv", blocks)
    kv_heads = [kv if kv is not None else head or 0 for kv, head in zip(kv_heads, heads, strict=True)]
    width, most = header.number("{arch}.embedding_length") or 0, max((head or 0 for head in heads), default=0)
    sizes = _HeadSizes.of(header, width // most if most else 0)
    sliding = sliding_layers(header, blocks)
    own = layers_with_cache(header, blocks)
    layers = [
        LayerShape() if at >= own else _layer(header, at, kv_heads[at] or 0, sizes, sliding[at]) for at in range(blocks)
    ]
    hidden = max((size or 0 for size in _each(header, "feed_forward_length", blocks)), default=0)
    used = header.number("{arch}.expert_used_count") or 0
    return ModelShape(
        layers=tuple(layers[blocks - ahead :] if mtp else layers[:count]),
        width=width,
        hidden=hidden,
        experts_hidden=used * (header.number("{arch}.expert_feed_forward_length") or hidden)
        + (header.number("{arch}.expert_shared_feed_forward_length") or 0),
        heads=most,
        kv_heads=max((kv or 0 for kv in kv_heads), default=0),
        key_size=sizes.key,
        value_size=sizes.value,
        inner=_inner(header, width),
        vocabulary=header.vocabulary_size or 0,
        trained_context=header.context_length or 0,
        window=window_of(header),
        encoder=header.architecture in _ENCODERS,
    )


@dataclass(frozen=True, slots=True)
class _HeadSizes:
    """Numbers in a head's key and value, in full and in sliding layers. `latent`: values are part of the keys."""

    key: int
    value: int
    key_sliding: int
    value_sliding: int
    latent: bool

    @classmethod
    def of(cls, header: Header, usual: int) -> _HeadSizes:
        key = header.number("{arch}.attention.key_length") or usual
        value = header.number("{arch}.attention.value_length") or usual
        return cls(
            key,
            value,
            header.number("{arch}.attention.key_length_swa") or key,
            header.number("{arch}.attention.value_length_swa") or value,
            bool(header.number("{arch}.attention.key_length_mla")),
        )


def _layer(header: Header, at: int, kv_heads: int, sizes: _HeadSizes, sliding: bool) -> LayerShape:
    attends, carries = _kinds(header, at, kv_heads)
    key, value = (sizes.key_sliding, sizes.value_sliding) if sliding else (sizes.key, sizes.value)
    return LayerShape(
        key=key * kv_heads if attends else 0,
        value=value * kv_heads if attends and not sizes.latent else 0,
        state=_state(header) if carries else 0,
        sliding=sliding,
    )


def _kinds(header: Header, at: int, kv_heads: int) -> tuple[bool, bool]:
    """Whether a layer attends, and whether it carries a state."""
    architecture = header.architecture or ""
    if architecture in _ENCODERS:
        return False, False
    if architecture in _STATE_ONLY:
        return False, True
    if architecture in _BOTH:
        return True, True
    if architecture in _BY_HEADS:
        return kv_heads > 0, kv_heads == 0
    if header.number("{arch}.ssm.state_size"):  # qwen3next, qwen35 and later ones
        every = header.number("{arch}.full_attention_interval") or _FULL_ATTENTION_EVERY
        attends = (at + 1) % every == 0
        return attends, not attends
    return True, False


def _state(header: Header) -> int:
    """Numbers of a layer's state for one slot, 4 bytes each, as in llama.cpp's n_embd_r and n_embd_s."""
    number, width = header.number, header.number("{arch}.embedding_length") or 0
    if head := number("{arch}.wkv.head_size"):
        shifts = number("{arch}.token_shift_count")
        return (2 if shifts is None else shifts) * width + width * head
    if cache := number("{arch}.shortconv.l_cache"):
        return width * (cache - 1)
    convolution = max((number("{arch}.ssm.conv_kernel") or 0) - 1, 0)
    if kda := number("{arch}.kda.head_dim"):
        heads = max((head or 0 for head in _each(header, "attention.head_count", header.block_count or 0)), default=0)
        return 3 * convolution * heads * kda + kda * kda * heads
    inner, state = number("{arch}.ssm.inner_size") or 0, number("{arch}.ssm.state_size") or 0
    return convolution * (inner + 2 * (number("{arch}.ssm.group_count") or 0) * state) + inner * state


def _inner(header: Header, width: int) -> int:
    """Numbers per token in the widest step of a layer with a state."""
    if header.number("{arch}.wkv.head_size") or header.number("{arch}.shortconv.l_cache"):
        return width
    return header.number("{arch}.ssm.inner_size") or 0


def _each(header: Header, key: str, count: int) -> list[int | None]:
    """A number per layer, from a single one or a list in the header. Raises GgufError."""
    listed = header.arrays.get(f"{header.architecture}.{key}")
    if listed is None or listed.holds_texts:
        return [header.number("{arch}." + key)] * count
    numbers = [int(number) for number in listed][:count]
    return [*numbers, *[None] * (count - len(numbers))]
