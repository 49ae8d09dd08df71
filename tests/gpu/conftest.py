"""A real NVIDIA card and a llama-server for it; without one the tests are skipped. `make gpu` brings both."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.devices import Device, devices
from app.engine.locate import locate
from tests.engine.conftest import BINARY
from tests.support.large_models import size_of_block, write_large
from tests.support.nvidia import card_memory, why_no_card

# The large model takes this share of the card, but not so much that its loads take minutes
_SHARE, _MOST = 0.1, 8 << 30


@pytest.fixture(scope="session", autouse=True)
def card() -> Device:
    """The first card, as llama-server lists it."""
    if why := why_no_card():
        pytest.skip(why)
    if BINARY is None:
        pytest.skip("no llama-server: make gpu")
    listed = [device for device in devices(locate(BINARY)) if device.name == "CUDA0"]
    if not listed:
        pytest.skip(f"{BINARY} sees no NVIDIA device: make gpu builds one that does")
    return listed[0]


@pytest.fixture(scope="session")
def binary(card: Device) -> str:
    """The llama-server that sees the card."""
    assert BINARY is not None
    return BINARY


@pytest.fixture(scope="session")
def large(card: Device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights of a tenth of the card, or 8 GiB."""
    blocks = max(int(min(_SHARE * card_memory().total, _MOST)) // size_of_block(), 1)
    return write_large(tmp_path_factory.mktemp("large") / "large.gguf", blocks=blocks)


@pytest.fixture(scope="session")
def small(card: Device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A draft for the large model: the same vocabulary, a fraction of the weights."""
    return write_large(tmp_path_factory.mktemp("small") / "small.gguf", blocks=4, width=1024)
