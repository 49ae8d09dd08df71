"""What an engine's files tell of the architectures that it knows."""

from pathlib import Path

import pytest

from app.engine.architectures import doubt, doubts, knows
from app.engine.locate import EngineBinary, locate
from tests.support.gateway import header_only

WITNESS = b"error\0unknown model architecture: '\0"
TABLE = WITNESS + b"llama\0modern-bert\0glm4moe\0"


def engine(*files: Path) -> EngineBinary:
    return EngineBinary((str(files[0]),), files, "llama-server on PATH")


def test_a_name_that_no_file_holds_is_unknown(tmp_path: Path) -> None:
    """Whole, with its end: `glm4` is not `glm4moe`. A name that ends another is given the benefit of the doubt."""
    binary = tmp_path / "llama-server"
    binary.write_bytes(TABLE)
    said = {name: knows(engine(binary), name) for name in ("llama", "glm4moe", "bert", "glm4", "unicornlm")}
    assert said == {"llama": True, "glm4moe": True, "bert": True, "glm4": False, "unicornlm": False}
    assert doubt(engine(binary), "llama") is None
    assert "does not know the architecture unicornlm" in str(doubt(engine(binary), "unicornlm"))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"llama\0glm4moe\0", None])
def test_a_file_that_refuses_nothing_does_not_tell(tmp_path: Path, content: bytes | None) -> None:
    """A script, a stub, a file that is gone: nobody is warned for that."""
    binary = tmp_path / "llama-server"
    if content is not None:
        binary.write_bytes(content)
    assert knows(engine(binary), "unicornlm") is None and doubt(engine(binary), "unicornlm") is None


@pytest.mark.parametrize("folder", ["bin", "lib"])
def test_a_shared_build_has_the_names_in_its_library(tmp_path: Path, folder: str) -> None:
    """Beside the program or in the folder of libraries beside that."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    binary = tmp_path / "bin" / "llama-server"
    binary.write_bytes(b"stub")
    binary.chmod(0o755)
    (tmp_path / folder / "libllama.so.0").write_bytes(TABLE)
    engine = locate(str(binary))
    assert knows(engine, "glm4moe") is True and knows(engine, "unicornlm") is False


def test_what_was_pulled_for_an_engine_that_is_too_old_is_said(tmp_path: Path) -> None:
    """Shards are asked for once, projectors not at all; without an engine there is nothing to compare with."""
    first = header_only(tmp_path / "x-00001-of-00002.gguf", "glm9")
    second = header_only(tmp_path / "x-00002-of-00002.gguf", "")
    files = [first, second, header_only(tmp_path / "mmproj-x.gguf", "clip")]
    binary = tmp_path / "llama-server"
    binary.write_bytes(TABLE)
    binary.chmod(0o755)
    (text,) = doubts(str(binary), files)
    assert "glm9" in text and str(binary) in text
    assert doubts(str(tmp_path / "none"), files) == []
