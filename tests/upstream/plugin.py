"""A pytest plugin for llama.cpp's server tests: no model is fetched from the Hub."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def _offline(*_: object, **__: object) -> None:
    raise RuntimeError("this test needs a file of the Hub")


# Their way to files of the Hub; not installed here
_wget = ModuleType("wget")
_wget.download = _offline  # type: ignore[attr-defined]
sys.modules.setdefault("wget", _wget)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems() -> None:
    """The presets are loaded to fill a cache that nobody reads."""
    import utils  # type: ignore[import-not-found]

    utils.ServerPreset.load_all = staticmethod(lambda: None)
