"""Tiny GGUF models for real engines: they load in milliseconds and talk printable nonsense, the same on every run.

A llama of 64 dimensions with fixed random weights and a byte-level BPE vocabulary of 512 tokens. The first
dimension of the residual stream is a constant that no layer writes to; the output matrix reads it to forbid control
tokens and bytes outside printable ASCII, so every answer is valid UTF-8 and ends at its limit, never by itself. A
draft is the target's first block without the others: it agrees often, not always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

CONTEXT = 2048
WIDTH, HEADS, KV_HEADS, HIDDEN = 64, 4, 2, 128
TARGET_BLOCKS, DRAFT_BLOCKS = 3, 1
VOCABULARY = 512
SEED = 7
# How much each block adds to the embedding: less makes draft and target agree more.
BLOCK_SCALE = 0.35

SPECIALS = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
BOS, EOS, IM_START, IM_END, PAD = 0, 1, 2, 3, 4
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Floats = NDArray[np.float32]


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others are moved up from U+0100."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(moved)) for byte in range(256)]


@dataclass(frozen=True)
class Tokens:
    """What the header says of the tokenizer, None for nothing; the defaults are the target's."""

    model: str = "gpt2"
    pre: str | None = "gpt-2"
    texts: list[str] = field(default_factory=lambda: _texts(VOCABULARY))
    bos: int | None = BOS
    eos: int | None = EOS
    add_bos: bool | None = True
    add_eos: bool | None = False
    # Whether tokens past the target's vocabulary are ever proposed; in real models those are mostly padding.
    says_all: bool = False
    # Whether some of the specials are for infill
    infills: bool = False


def _pairs(count: int) -> list[tuple[str, str]]:
    """Merges of a byte-level BPE: lower-case pairs, with a space in front or not."""
    space, letters = _byte_letters()[0x20], "etaoinshrdlucmfwypvbgkjqxz"
    pairs = [(first, second) for first in space + letters for second in letters]
    return pairs[:count]


def _texts(count: int) -> list[str]:
    pieces = [*SPECIALS, *_byte_letters()]
    return pieces + ["".join(pair) for pair in _pairs(count - len(pieces))]


def write_target(path: Path, *, seed: int = SEED, context: int = CONTEXT) -> Path:
    """The verifier: three blocks."""
    return _write(path, TARGET_BLOCKS, Tokens(), seed, context=context)


def write_infill(path: Path) -> Path:
    """The target with tokens for /infill."""
    return _write(path, TARGET_BLOCKS, Tokens(infills=True))


def write_pooled(path: Path, pooling: int) -> Path:
    """The target as a model for vectors; `pooling` is a number of llama.cpp's: 1 mean, 2 cls, 3 last, 4 rank."""
    return _write(path, TARGET_BLOCKS, Tokens(), pooling=pooling)


def write_draft(path: Path, *, seed: int = SEED) -> Path:
    """The proposer: the target's first block. Another `seed` than the target's agrees about never."""
    return _write(path, DRAFT_BLOCKS, Tokens(), seed)


def write_tokens(path: Path, tokens: Tokens) -> Path:
    """A draft, or a target as small as one, with a tokenizer of one's own making."""
    return _write(path, DRAFT_BLOCKS, tokens)


def write_draft_other_tokenizer(path: Path) -> Path:
    """SentencePiece instead of BPE: rule 1 of llama.cpp's common_speculative_are_compatible."""
    texts = [f"<0x{index - 5:02X}>" if 5 <= index < 261 else text for index, text in enumerate(Tokens().texts)]
    return _write(path, DRAFT_BLOCKS, Tokens(model="llama", texts=texts))


def write_draft_other_bos(path: Path) -> Path:
    """Another id for BOS: rule 2."""
    return _write(path, DRAFT_BLOCKS, Tokens(bos=PAD))


def write_draft_without_bos(path: Path) -> Path:
    """No BOS is added: rule 2 as well."""
    return _write(path, DRAFT_BLOCKS, Tokens(add_bos=False))


def write_draft_with_eos(path: Path) -> Path:
    """EOS is added, which the target does not do: rule 3."""
    return _write(path, DRAFT_BLOCKS, Tokens(add_eos=True))


def write_draft_larger_vocabulary(path: Path, *, more: int = 129) -> Path:
    """`more` tokens than the target: rule 4 allows 128."""
    return _write(path, DRAFT_BLOCKS, Tokens(texts=_texts(VOCABULARY + more)))


def write_draft_beyond_target(path: Path) -> Path:
    """128 tokens more than the target, which rule 4 allows, and it proposes them: llama-server b11434 aborts."""
    return _write(path, DRAFT_BLOCKS, Tokens(texts=_texts(VOCABULARY + 128), says_all=True))


def write_draft_other_token(path: Path, *, token: int = 300) -> Path:
    """One text differs: rule 5, which looks at ids from 5 up."""
    texts = list(Tokens().texts)
    texts[token] = "different"
    return _write(path, DRAFT_BLOCKS, Tokens(texts=texts))


# What the engine must refuse to draft with, by name.
INCOMPATIBLE_DRAFTS: dict[str, Callable[[Path], Path]] = {
    "tokenizer": write_draft_other_tokenizer,
    "bos": write_draft_other_bos,
    "add_bos": write_draft_without_bos,
    "add_eos": write_draft_with_eos,
    "size": write_draft_larger_vocabulary,
    "text": write_draft_other_token,
}


def write_sharded(stem: Path, count: int) -> list[Path]:
    """The target in `count` files, `<stem>-00001-of-0000N.gguf` and so on; the first holds the metadata."""
    # llama.cpp wants the same number of tensors in no shard; gguf fills each up to a maximum.
    tensors = len(_tensors(TARGET_BLOCKS, Tokens(), SEED))
    _write(stem.with_name(stem.name + ".gguf"), TARGET_BLOCKS, Tokens(), split=-(-tensors // count))
    paths = [stem.with_name(f"{stem.name}-{no:05}-of-{count:05}.gguf") for no in range(1, count + 1)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise ValueError(f"{tensors} tensors do not make {count} shards: {missing} are not there")
    return paths


def write_unknown_arch(path: Path) -> Path:
    """Well-formed, and of an architecture that nobody has heard of."""
    return _write(path, DRAFT_BLOCKS, Tokens(), arch="unicornlm")


def write_truncated(path: Path) -> Path:
    """A download that was broken off in the tensors; the header is whole."""
    write_target(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)
    return path


def write_not_gguf(path: Path) -> Path:
    """What a failed download often is: an error page."""
    path.write_text("<!doctype html><title>404</title>\n")
    return path


def _write(
    path: Path,
    blocks: int,
    tokens: Tokens,
    seed: int = SEED,
    *,
    arch: str = "llama",
    split: int = 0,
    context: int = CONTEXT,
    pooling: int | None = None,
) -> Path:
    writer = gguf.GGUFWriter(path, arch, split_max_tensors=split)
    if pooling is not None:
        writer.add_pooling_type(gguf.PoolingType(pooling))
    writer.add_name(f"tiny {path.stem}")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens.texts))
    _add_tokenizer(writer, tokens)
    for name, tensor in _tensors(blocks, tokens, seed).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, tokens: Tokens) -> None:
    bytes_kind = gguf.TokenType.BYTE if tokens.model == "llama" else gguf.TokenType.NORMAL
    kinds = [gguf.TokenType.CONTROL] * len(SPECIALS) + [bytes_kind] * 256
    kinds += [gguf.TokenType.NORMAL] * (len(tokens.texts) - len(kinds))
    writer.add_tokenizer_model(tokens.model)
    writer.add_token_list(tokens.texts)
    writer.add_token_types(kinds)
    if tokens.model != "llama":
        if tokens.pre is not None:
            writer.add_tokenizer_pre(tokens.pre)
        writer.add_token_merges([" ".join(pair) for pair in _pairs(len(tokens.texts) - len(SPECIALS) - 256)])
    else:
        writer.add_token_scores([0.0] * len(tokens.texts))
    writer.add_eot_token_id(IM_END)
    writer.add_pad_token_id(PAD)
    if tokens.infills:
        for key, token in (("pre", BOS), ("suf", PAD), ("mid", IM_START)):
            writer.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", token)
    if tokens.bos is not None:
        writer.add_bos_token_id(tokens.bos)
    if tokens.eos is not None:
        writer.add_eos_token_id(tokens.eos)
    if tokens.add_bos is not None:
        writer.add_add_bos_token(tokens.add_bos)
    if tokens.add_eos is not None:
        writer.add_add_eos_token(tokens.add_eos)
    writer.add_chat_template(TEMPLATE)


def _tensors(blocks: int, tokens: Tokens, seed: int) -> dict[str, Floats]:
    """Each tensor has a generator of its own, so a smaller model has the very numbers of the larger one's start."""

    def random(name: str, rows: int, columns: int, scale: float = 1.0) -> Floats:
        generator = np.random.default_rng([seed, *name.encode()])
        numbers: Floats = (generator.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)
        return numbers

    size = len(tokens.texts)
    embedding = random("token_embd", size, WIDTH, scale=float(np.sqrt(WIDTH)))
    embedding[:, 0] = 4.0
    output = random("output", size, WIDTH, scale=6.0)
    printable = {letter for byte, letter in enumerate(_byte_letters()) if 0x20 <= byte < 0x7F}
    allowed = np.array([bool(text) and set(text) <= printable for text in _texts(size)])
    allowed[: len(SPECIALS)] = False
    if not tokens.says_all:
        allowed[VOCABULARY:] = False
    output[:, 0] = np.where(allowed, 0.0, -50.0)
    tensors = {"token_embd.weight": embedding, "output.weight": output, "output_norm.weight": _ones()}
    for block in range(blocks):
        tensors |= _block(f"blk.{block}", random)
    return tensors


def _block(name: str, random: Callable[..., Floats]) -> dict[str, Floats]:
    kv = WIDTH // HEADS * KV_HEADS
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (kv, WIDTH),
        "attn_v": (kv, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (HIDDEN, WIDTH),
        "ffn_up": (HIDDEN, WIDTH),
        "ffn_down": (WIDTH, HIDDEN),
    }
    block = {f"{name}.{norm}.weight": _ones() for norm in ("attn_norm", "ffn_norm")}
    for part, (rows, columns) in shapes.items():
        writes_back = part in ("attn_output", "ffn_down")
        tensor = random(f"{name}.{part}", rows, columns, scale=BLOCK_SCALE if writes_back else 1.0)
        if writes_back:
            tensor[0] = 0.0
        block[f"{name}.{part}.weight"] = tensor
    return block


def _ones() -> Floats:
    return np.ones(WIDTH, dtype=np.float32)
