"""Groups the models of one Hub repo by quantization. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from app.models.gguf.filenames import check_path, choose, model_of, quantization_of, shard_of


@dataclass(frozen=True, slots=True)
class Quantization:
    """One model. `paths` are its shards in order, `size` their bytes. `complete` is False if the Hub lacks a shard.

    `name` is the quantization, or the path without `.gguf` if that has none or shares it with another model.
    """

    name: str
    paths: tuple[str, ...]
    size: int
    complete: bool


def quantizations(sizes: Mapping[str, int]) -> list[Quantization]:
    """Returns the quantizations, smallest first. Raises StoreError for an unsafe path."""
    models: dict[str, list[str]] = {}
    for path in choose(sizes, None, None):
        models.setdefault(model_of(check_path(path)), []).append(path)
    named = Counter(quantization_of(stem).lower() for stem in models)
    offered = []
    for stem, paths in models.items():
        quantization = quantization_of(stem)
        name = quantization if quantization and named[quantization.lower()] == 1 else stem
        offered.append(Quantization(name, tuple(paths), sum(sizes[path] for path in paths), _complete(paths)))
    return sorted(offered, key=lambda quantization: (quantization.size, quantization.name))


def _complete(paths: list[str]) -> bool:
    shards = [shard for path in paths if (shard := shard_of(path)) is not None]
    return not shards or shards == [(no, shards[0][1]) for no in range(1, shards[0][1] + 1)]
