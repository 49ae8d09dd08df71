"""Clients that hold the SDKs to ranges of their own, in an environment of theirs (`scripts/install-pinned-clients`)."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conversation import openai_messages, openai_tool
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, EMBEDDER, SPEAKER

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache/pinned-clients/bin/python"
# litellm's table of prices would be fetched from the network at import.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


@pytest.mark.skipif(not PYTHON.exists(), reason="these clients are not installed; `make test` does it")
@pytest.mark.parametrize(
    ("client", "checks", "with_tools"),
    [
        ("litellm", ["whole_and_streamed", "in_company", "text_completion", "embeddings", "errors"], ["tools"]),
        ("instructor", ["schema", "partial_objects"], ["tools"]),
        ("llama_index", ["whole_and_streamed", "in_company", "schemas"], ["tools"]),
    ],
)
def test_a_client(real: Gateway, tmp_path: Path, client: str, checks: list[str], with_tools: list[str]) -> None:
    """All checks of its script pass: whole, streamed, side by side, structured, with tools, as far as it can."""
    speaker = SPEAKER if SPEAKER in real.settings["models"] else ""
    talk = json.dumps({"messages": openai_messages(), "tools": [openai_tool()]})
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name(f"pinned_{client}.py"), real.url, CHAT, EMBEDDER, speaker, talk],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | OFFLINE,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == checks + (with_tools if speaker else [])
