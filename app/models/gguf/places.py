"""Checks by their headers that GGUF files fit their key of an entry, and that shards belong to one model.

llama.cpp checks the same keys while it loads (llama-model-loader.cpp, llama-adapter.cpp, clip.cpp as of b11434).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.errors import GgufError
from app.models.gguf.filenames import shard_of
from app.models.gguf.header import Header
from app.models.gguf.header_cache import header_of

_PROJECTOR = "clip"
# Values of `general.type` for files that are no model by themselves
_KINDS = {"adapter": "a LoRA adapter", "mmproj": "a multimodal projector", "imatrix": "an importance matrix"}
# Encoders, which cannot complete a text: llama.cpp's architectures without causal attention and an output layer.
ENCODERS = frozenset(
    {
        *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3"),
        *("eurobert", "gemma-embedding", "t5encoder", "llama-embed"),
    }
)


def kind_of(header: Header) -> str:
    """Returns the kind of a file that is no model. Returns "" for a model."""
    if header.architecture == _PROJECTOR:
        return _KINDS["mmproj"]
    if header.architecture in ("imatrix", "controlvector"):
        return _KINDS["imatrix"] if header.architecture == "imatrix" else "a control vector"
    return _KINDS.get(header.text("general.type") or "", "")


def misplaced_target(header: Header) -> str:
    """Returns a sentence if the file is not a model. Returns "" if it is."""
    kind = kind_of(header)
    if not kind:
        return ""
    ways = {
        _KINDS["adapter"]: "name the model it was made for, and it in args: [--lora, FILE]",
        _KINDS["mmproj"]: "name it as mmproj, and the model itself as target",
        "a control vector": "name the model, and it in args: [--control-vector, FILE]",
    }
    return f"{header.path} is {kind}, not a model; {ways.get(kind, 'name the model itself')}."


def misplaced_projector(header: Header) -> str:
    """As `misplaced_target`, for `mmproj`."""
    if header.architecture == _PROJECTOR:
        return ""
    what = kind_of(header) or f"a model ({header.architecture})"
    return (
        f"{header.path} is {what}, not a multimodal projector (architecture clip); name the projector, or leave it out."
    )


def misplaced_draft(header: Header) -> str:
    """As `misplaced_target`, for `draft`. An embedding model cannot propose tokens either."""
    if kind := kind_of(header):
        return f"{header.path} is {kind}, not a model."
    if header.number("{arch}.pooling_type") or header.architecture in ENCODERS:
        return f"{header.path} is an embedding model ({header.architecture}), which proposes no tokens."
    return ""


def misplaced_adapter(header: Header, target: Header) -> str:
    """As `misplaced_target`, for the file of --lora."""
    if header.text("general.type") != "adapter":
        what = kind_of(header) or f"a model ({header.architecture})"
        return f"{header.path} is {what}, not a LoRA adapter (general.type adapter)."
    if header.architecture != target.architecture:
        return f"{header.path} is an adapter for {header.architecture}, and the model is {target.architecture}."
    return ""


def mixed_shards(paths: Sequence[Path]) -> str:
    """Returns a sentence if the files are not the shards of one model in order, else "". Raises GgufError."""
    first = header_of(paths[0])
    count, name = first.split_count, paths[0].name
    if count > 1 and (shard_of(name) is None or len(paths) != count):
        part = (first.number("split.no") or 0) + 1
        return (
            f"{paths[0]} is part {part} of {count} of a model, and its name does not say so; "
            f"give the parts names such as NAME-{part:05d}-of-{count:05d}.gguf again."
        )
    if count == 1:  # llama.cpp then loads this file alone, whatever its name
        return ""
    for place, path in enumerate(paths):
        header = header_of(path)
        number, of = header.number("split.no"), header.number("split.count")
        if number is None or of is None:
            return f"{path} is no part of a model in several files; download it again."
        if (number, of) != (place, count):
            return (
                f"{path} says of itself that it is part {number + 1} of {of}; parts of another place or set are mixed."
            )
    return _tensors_in_all(first, paths)


def _tensors_in_all(first: Header, paths: Sequence[Path]) -> str:
    expected, actual = first.number("split.tensors.count"), sum(header_of(path).tensor_count for path in paths)
    if expected is None or expected == actual:
        return ""
    return f"{first.path}: its {len(paths)} parts have {actual} tensors, not {expected}: several sets are mixed."


def head_sizes(header: Header) -> tuple[int, int] | None:
    """Returns the dimensions of a head's key and value. None means that layers differ or the header has none."""
    width, heads = header.number("{arch}.embedding_length"), header.number("{arch}.attention.head_count")
    usual = width // heads if width and heads else None
    key = header.number("{arch}.attention.key_length") or usual
    value = header.number("{arch}.attention.value_length") or usual
    latent = header.number("{arch}.attention.key_length_mla") or header.number("{arch}.attention.kv_lora_rank")
    return None if latent or key is None or value is None else (key, value)


def readable(path: Path) -> str:
    """Returns the reason why a GGUF file cannot be read, or ""."""
    try:
        header_of(path)
    except GgufError as error:
        return str(error)
    return ""
