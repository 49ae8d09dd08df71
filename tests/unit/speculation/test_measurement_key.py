"""Measurements are kept under what they hold for."""

from pathlib import Path

import pytest

from app.config.model_entry import LocalEntry
from app.engine.locate import EngineBinary
from app.errors import GgufError
from app.speculation.measurement_key import digest, hardware, key_of


def entry(**more: object) -> LocalEntry:
    return LocalEntry.model_validate({"target": {"path": "/m.gguf"}, **more})


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], list[Path], EngineBinary]:
    target, draft, binary = tmp_path / "t.gguf", tmp_path / "d.gguf", tmp_path / "llama-server"
    for path in (target, draft, binary):
        path.write_text(path.name)
    return [target], [draft], EngineBinary((str(binary),), (binary,), "test")


def test_modes_share_a_key_and_options_do_not(files: tuple[list[Path], list[Path], EngineBinary]) -> None:
    """Plain and drafted compare; four threads do not compare with two, nor another draft, nor another build."""
    target, draft, binary = files
    key = key_of(entry(threads=2), target, draft, binary)
    assert key_of(entry(threads=2, speculation="ngram-mod"), target, draft, binary) == key
    others = {key_of(entry(threads=4), target, draft, binary), key_of(entry(threads=2), target, [], binary)}
    binary.files[0].write_text("another build")
    others.add(key_of(entry(threads=2), target, draft, binary))
    assert len(others) == 3 and key not in others


@pytest.mark.parametrize("at", [0, 1 << 21])
def test_a_change_at_either_end_is_another_file(tmp_path: Path, at: int) -> None:
    """The header is at the start, a fine-tune's tensors at the end."""
    path, changed = tmp_path / "a", tmp_path / "b"
    content = bytearray(1 << 22)
    path.write_bytes(content)
    content[at if at == 0 else -1] = 1
    changed.write_bytes(content)
    assert digest(path) != digest(changed)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """As every other use of it says it."""
    with pytest.raises(GgufError, match=r"gone\.gguf: cannot be read"):
        digest(tmp_path / "gone.gguf")


def test_hardware_has_a_name() -> None:
    """A processor and its cores, at the least."""
    assert "cores" in hardware()
