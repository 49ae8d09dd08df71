"""A command of llama-tandem as a person runs it: a process of its own, in a folder, against a fake Hub."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support import forked
from tests.support.fake_hub import FakeHub


def run_command(
    folder: Path, hub: FakeHub, *words: str, answer: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """`answer` is what is typed. State, caches and models are below `folder`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TANDEM_"))}
    own |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf")}
    own |= {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    return forked.run(words, env=own | env, folder=folder, typed=answer)
