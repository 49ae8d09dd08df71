"""A disk without room, and places that are none: each command says what it could not write, and leaves nothing half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import header_only

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")


def command(folder: Path, *words: str, out: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """A command of ours with stdout at `out`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")}
    own |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    with (out or Path(os.devnull)).open("w") as stdout:
        return subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=folder,
            env=own | env,
            stdout=stdout,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=120,
        )


@needs_full
@pytest.mark.parametrize("words", [["--help"], ["version"], ["ls"], ["ls", "--json"], ["check"], ["schema"], ["stats"]])
def test_what_cannot_be_printed_is_one_line(words: list[str], tmp_path: Path) -> None:
    """Into a file on a full disk."""
    header_only(tmp_path / "m.gguf")
    (tmp_path / "tandem.yaml").write_text("models: {m: {target: m.gguf}}")
    done = command(tmp_path, *words, out=FULL)
    assert (done.returncode, done.stderr) == (1, "llama-tandem: stdout: No space left on device\n")


@pytest.mark.parametrize("words", [["run", "m", "hello"], ["keys", "create", "--name", "k"]])
def test_a_state_folder_that_cannot_be_is_named(words: list[str], tmp_path: Path) -> None:
    """A file stands in its place."""
    header_only(tmp_path / "m.gguf")
    (tmp_path / "tandem.yaml").write_text("models: {m: {target: m.gguf}}")
    (tmp_path / "file").write_text("")
    done = command(tmp_path, *words, XDG_STATE_HOME=str(tmp_path / "file"))
    assert done.returncode == 1 and "Traceback" not in done.stderr and str(tmp_path / "file") in done.stderr


def test_init_leaves_nothing_half(tmp_path: Path) -> None:
    """A file that was begun would be in the way of the next try."""
    (tmp_path / "tandem.schema.json").mkdir()
    done = command(tmp_path, "init")
    assert done.returncode == 1 and "cannot be written" in done.stderr and not (tmp_path / "tandem.yaml").exists()
    (tmp_path / "tandem.schema.json").rmdir()
    assert command(tmp_path, "init").returncode == 0 and (tmp_path / "tandem.yaml").exists()
