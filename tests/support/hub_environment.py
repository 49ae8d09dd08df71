"""What makes a process take a fake Hub for the Hub, and nothing of the person's own."""

from __future__ import annotations

import os
from pathlib import Path

from .fake_hub import FakeHub


def hub_variables(hub: FakeHub, folder: Path, **more: str) -> dict[str, str]:
    """For the environment of a child; a token of the person's own is blotted out."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": "", "HF_HUB_OFFLINE": "0"} | more


def hub_environment(hub: FakeHub, folder: Path, **more: str) -> dict[str, str]:
    """All of it, with what other settings the person has taken out."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TANDEM_"))}
    return own | hub_variables(hub, folder) | more
