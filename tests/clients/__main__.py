"""`python -m tests.clients`: a gateway with small models, and node's test runner on the clients beside this file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conformance.conversation import CITIES, SCHEMA, openai_messages, openai_tool
from tests.support import small_models
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, CONCLUSION, EMBEDDER, GREETER, GREETING, SPEAKER, THINKER, THOUGHT

HERE = Path(__file__).parent
# Of all of them; each command line has a limit of its own.
LIMIT_S = 600
KEY = "a-key-of-the-clients-tests"


def main() -> int:
    """Node's exit code."""
    with tempfile.TemporaryDirectory(prefix="tandem-clients-") as folder:
        path = Path(folder)
        speaker = small_models.speaker(path)
        models = {
            CHAT: small_models.chat(path),
            EMBEDDER: small_models.embedder(path),
            GREETER: small_models.greeter(path),
            THINKER: small_models.thinker(path),
        } | ({SPEAKER: speaker} if speaker else {})
        gateway = Gateway(
            path, models=models, llama_server="embedded", max_loaded=len(models), env={"TANDEM_API_KEYS": KEY}
        )
        try:
            return run_node(gateway.url, SPEAKER if speaker else "")
        finally:
            gateway.close()


def run_node(url: str, speaker: str) -> int:
    """One file after the other: they share two cores with the engines."""
    talk = {"openai_messages": openai_messages(), "openai_tool": openai_tool(), "schema": SCHEMA, "cities": CITIES}
    names = {"CHAT": CHAT, "EMBEDDER": EMBEDDER, "GREETER": GREETER, "GREETING": GREETING, "SPEAKER": speaker}
    names |= {"THINKER": THINKER, "THOUGHT": THOUGHT, "CONCLUSION": CONCLUSION}
    environment = {"TANDEM_URL": url, "TANDEM_KEY": KEY, "CONVERSATION": json.dumps(talk)} | names
    tests = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    done = subprocess.run(
        ["node", "--test", "--test-concurrency=1", "--test-reporter=spec", *tests],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | environment,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
