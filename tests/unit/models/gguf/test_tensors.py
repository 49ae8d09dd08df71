from __future__ import annotations

from math import prod
from pathlib import Path

import gguf
import pytest

from app.models.gguf.header import read_header
from app.models.gguf.tensors import tensors_of
from tests.support.architectures import write_llama
from tests.support.tiny_models import write_sharded


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1"])
def test_tensors_have_the_sizes_that_their_types_give(tmp_path: Path, kind: str) -> None:
    number = gguf.GGMLQuantizationType[kind]
    path = write_llama(tmp_path / "m.gguf", kind=number)
    tensors = {tensor.name: tensor for tensor in tensors_of(read_header(path))}
    assert len(tensors) == 4 * 9 + 3
    for tensor in tensors.values():
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)]
        assert tensor.size == prod(tensor.shape) // block * size, tensor
    assert tensors["blk.0.attn_k.weight"].shape == (256, 128) and tensors["blk.0.attn_k.weight"].kind == number


def test_shards_hold_all_tensors_together(tmp_path: Path) -> None:
    paths = write_sharded(tmp_path / "m", 3)
    names = [tensor.name for path in paths for tensor in tensors_of(read_header(path))]
    assert len(names) == len(set(names)) == 3 + 3 * 9
