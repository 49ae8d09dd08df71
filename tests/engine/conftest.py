"""Real engines: the embedded one always, a llama-server binary when one is found. The same tests run on each."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny_models
from tests.support.gateway import Gateway

ROOT = Path(__file__).parents[2]


def _built() -> str | None:
    """What `make llama-server` has built, else what is on PATH."""
    done = subprocess.run(
        [ROOT / "scripts/install-llama-server", "--print"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else shutil.which("llama-server")


BINARY = _built()
ENGINES = {"embedded": "embedded"} | ({"binary": BINARY} if BINARY else {})


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """What `llama_server` is set to."""
    return ENGINES[request.param]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models by name; `target` and `draft` have the same vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    found = {
        "target": tiny_models.write_target(folder / "target.gguf"),
        "draft": tiny_models.write_draft(folder / "draft.gguf"),
        "arch": tiny_models.write_unknown_arch(folder / "arch.gguf"),
        "truncated": tiny_models.write_truncated(folder / "truncated.gguf"),
        "sharded": tiny_models.write_sharded(folder / "sharded", 3)[0],
    }
    for name, write in tiny_models.INCOMPATIBLE_DRAFTS.items():
        found[name] = write(folder / f"{name}.gguf")
    return found


@pytest.fixture
def serve(make_gateway: Callable[..., Gateway], engine: str) -> Iterator[Callable[..., Gateway]]:
    """`serve(m=dict(...), ...)`: a gateway on this engine, one entry per keyword; `threads: 1`, as cores are few."""

    def start(*, max_loaded: int = 1, **entries: dict[str, Any]) -> Gateway:
        models = {name: {"ctx_size": 512, "threads": 1} | entry for name, entry in entries.items()}
        return make_gateway(models=models, llama_server=engine, max_loaded=max_loaded)

    yield start
