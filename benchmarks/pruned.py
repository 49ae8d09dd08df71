"""A draft for a model that has none: a copy with fewer layers. Same vocabulary, poor but honest proposals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf

_BLOCK = re.compile(r"^blk\.(\d+)\.(.+)$")


def write_pruned(source: Path, target: Path, layers: int) -> Path:
    """Keeps the first and the last `layers // 2` blocks of `source`; the rest is copied as it is."""
    reader = gguf.GGUFReader(source)
    architecture = _value(reader, "general.architecture")
    count = _value(reader, f"{architecture}.block_count")
    kept = [*range(layers - layers // 2), *range(count - layers // 2, count)]
    writer = gguf.GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = layers if field.name == f"{architecture}.block_count" else field.contents()
        kind = field.types[0]
        writer.add_key_value(field.name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) not in kept:
            continue
        name = f"blk.{kept.index(int(block[1]))}.{block[2]}" if block else tensor.name
        writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ValueError(f"{reader}: no {key} in the header")
    return field.contents()
