"""A pytest plugin for llama.cpp's server tests: no model is fetched from the Hub.

UPSTREAM_ONLY names a file with the tests that are run, one a line; without it all are.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from base64 import b64decode
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

_DRAFT = "/stories15M-q4_0.gguf"
# A PNG of one grey pixel
_IMAGE = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAGN9kEwAAAABJRU5ErkJggg==")


def _from_the_hub(url: str, out: str) -> None:
    """Puts a tiny draft where they fetch one."""
    if not url.endswith(_DRAFT):
        raise RuntimeError(f"this test needs a file of the Hub: {url}")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.environ["UPSTREAM_DRAFT"], out)


class _Image:
    """The answer that has an image of the Hub."""

    content = _IMAGE

    def raise_for_status(self) -> None:
        """It is there."""


def _of_the_web(url: str, **options: Any) -> Any:
    """Answers for the images that they fetch themselves."""
    return _Image() if url.startswith("https://huggingface.co/") else _get(url, **options)


_get, requests.get = requests.get, _of_the_web  # type: ignore[assignment]
# Their way to files of the Hub; not installed here
_wget = ModuleType("wget")
_wget.download = _from_the_hub  # type: ignore[attr-defined]
sys.modules.setdefault("wget", _wget)


_PATIENCE_S = 60


def _loaded(server: Any) -> None:
    """Waits for the engine: `/health` of a gateway tells only that it listens, that of a llama-server also waits."""
    headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else None
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        listed = server.make_request("GET", "/v1/models", headers=headers)
        rows = listed.body.get("data", []) if listed.status_code == 200 else []
        if not any(row.get("state") == "starting" for row in rows):
            return
        time.sleep(0.1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The presets are loaded to fill a cache that nobody reads."""
    if (only := os.environ.get("UPSTREAM_ONLY")) is not None:
        names = frozenset(Path(only).read_text(encoding="utf-8").splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.name not in names])
        items[:] = [item for item in items if item.name in names]
    import utils  # type: ignore[import-not-found]

    utils.ServerPreset.load_all = staticmethod(lambda: None)
    if "UPSTREAM_GATEWAY" in os.environ:
        start = utils.ServerProcess.start

        def start_and_load(server: Any, *given: Any, **options: Any) -> None:
            start(server, *given, **options)
            _loaded(server)

        utils.ServerProcess.start = start_and_load
