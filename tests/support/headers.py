"""GGUF files that are a header and nothing else, written by `gguf`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf


def write_header(path: Path, values: Mapping[str, Any], arch: str = "llama") -> Path:
    """Truth values, unsigned 32-bit numbers, texts, and lists of texts or numbers; no tensors."""
    writer = gguf.GGUFWriter(path, arch)
    adders: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        str: writer.add_string,
        list: writer.add_array,
    }
    for key, value in values.items():
        adders[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path
