"""The layers that keep only a window of the last tokens, and those that share a cache or have none. Pure.

Files seldom have the pattern: it is part of llama.cpp's code for an architecture (`set_swa_pattern` in src/models). For
an unknown architecture each layer counts as keeping all tokens, which is never too little.
"""

from __future__ import annotations

from app.models.gguf.header import Header

# One layer of so many sees all tokens: the last of each group, or the first.
_LAST_SEES_ALL = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
    "plamo3": 8,
}
_FIRST_SEES_ALL = {"modern-bert": 3, "smallthinker": 4}
# The files of these lack it
_WINDOWS = {"llama4": 8192, "smallthinker": 4096}
# Layers from here on use an earlier layer's cache.
_SHARED_FROM = {"gemma3n": 20}


def window_of(header: Header) -> int:
    """The tokens that a sliding layer sees, 0 without sliding layers."""
    return header.number("{arch}.attention.sliding_window") or _WINDOWS.get(header.architecture or "", 0)


def sliding_layers(header: Header, count: int) -> tuple[bool, ...]:
    """For each of `count` layers, whether it keeps only a window. Raises GgufError."""
    architecture = header.architecture or ""
    if not window_of(header):
        return (False,) * count
    listed = header.arrays.get(f"{architecture}.attention.sliding_window_pattern")
    if listed is not None and not listed.holds_texts:
        flags = [bool(flag) for flag in listed][:count]
        return (*flags, *[False] * (count - len(flags)))
    first = architecture in _FIRST_SEES_ALL
    known = _FIRST_SEES_ALL.get(architecture) or _LAST_SEES_ALL.get(architecture)
    if known is None:
        return (False,) * count
    period = header.number("{arch}.attention.sliding_window_pattern") or known
    return tuple(layer % period != (0 if first else period - 1) for layer in range(count))


def layers_with_cache(header: Header, count: int) -> int:
    """The number of layers, from the first, with their own cache."""
    shared = header.number("{arch}.attention.shared_kv_layers") or 0
    return max(min(_SHARED_FROM.get(header.architecture or "", count), count - shared), 0)
