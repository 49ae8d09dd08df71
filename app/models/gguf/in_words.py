"""Formats a model's size and quantization as Ollama's clients show them: `1.2B`, `Q4_K_M`. Pure."""

from __future__ import annotations

from app.models.gguf.filenames import quantization_of
from app.models.gguf.header import Header

# `general.file_type`: llama.cpp's llama_ftype, without removed values
_FILE_TYPES = dict(
    zip(
        (0, 1, 2, 3, *range(7, 33), 36, 37, 38),
        (
            *("F32", "F16", "Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S"),
            *("Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S"),
            *("IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16", "TQ1_0", "TQ2_0", "MXFP4_MOE"),
        ),
        strict=True,
    )
)
_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def quantization_in_words(header: Header | None) -> str:
    """Returns the quantization in the file's name, else in its header. Returns "" if neither has one."""
    if header is None:
        return ""
    return quantization_of(header.path.name) or _FILE_TYPES.get(_file_type(header), "")


def _file_type(header: Header) -> int:
    code = header.number("general.file_type")
    return -1 if code is None else code


def parameters_in_words(count: int | None) -> str:
    """Returns `134.52M` for 134515328 and `8.0B` for 8030261248, rounded as Ollama does. Returns "" if unknown."""
    if not count:
        return ""
    for size, letter in _STEPS:
        if count >= size:
            value = count / size
            return f"{value:.1f}{letter}" if value < 100 and letter in "TB" else f"{value:.2f}{letter}"
    return str(count)
