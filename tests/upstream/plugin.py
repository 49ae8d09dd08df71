"""A pytest plugin for llama.cpp's server tests: no model is fetched from the Hub."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

_DRAFT = "/stories15M-q4_0.gguf"


def _from_the_hub(url: str, out: str) -> None:
    """Puts a tiny draft where they fetch one."""
    if not url.endswith(_DRAFT):
        raise RuntimeError(f"this test needs a file of the Hub: {url}")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.environ["UPSTREAM_DRAFT"], out)


# Their way to files of the Hub; not installed here
_wget = ModuleType("wget")
_wget.download = _from_the_hub  # type: ignore[attr-defined]
sys.modules.setdefault("wget", _wget)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """The presets are loaded to fill a cache that nobody reads."""
    import utils  # type: ignore[import-not-found]

    utils.ServerPreset.load_all = staticmethod(lambda: None)
