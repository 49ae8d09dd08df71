"""litellm against real engines, in an environment of its own (`scripts/install-litellm`)."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance.conversation import openai_messages, openai_tool
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, EMBEDDER, SPEAKER

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache/litellm/bin/python"
# Its table of prices would be fetched from the network at import.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


@pytest.mark.skipif(not PYTHON.exists(), reason="litellm is not installed; `make test` does it")
def test_litellm(real: Gateway, tmp_path: Path) -> None:
    """As OpenAI, as Anthropic and as Ollama: whole, streamed, side by side, text, embeddings, tools, errors."""
    speaker = SPEAKER if SPEAKER in real.settings["models"] else ""
    talk = json.dumps({"messages": openai_messages(), "tools": [openai_tool()]})
    script = Path(__file__).with_name("litellm_client.py")
    done = subprocess.run(
        [PYTHON, script, real.url, CHAT, EMBEDDER, speaker, talk],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | OFFLINE,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = ["whole_and_streamed", "in_company", "text_completion", "embeddings", "errors"]
    assert done.stdout.split() == ran + (["tools"] if speaker else [])
