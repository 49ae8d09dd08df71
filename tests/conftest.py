"""Gateways for tests: made with `make_gateway`, ended with the test, and nobody of theirs may survive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.gateway import Gateway, engines_of, eventually, header_only

# A busy machine may take its time: no test asserts one, and hypothesis's deadline of 200 ms would.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State and caches of nobody: keys and ledger of the person who runs the tests are neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture
def make_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """`make_gateway(models={...}, max_loaded=1, env={...})`, or `args=[...]` for one model `m` with these flags.

    `parallel` is how many requests that model answers at once.
    """
    made: list[Gateway] = []

    def make(*, args: list[str] | None = None, parallel: int = 1, **settings: Any) -> Gateway:
        folder = tmp_path / f"gateway-{len(made)}"
        model = header_only(folder / "model.gguf")
        settings.setdefault("models", {"m": {"target": {"path": str(model)}, "args": args or [], "parallel": parallel}})
        made.append(Gateway(folder, **settings))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()
    for gateway in made:
        eventually(lambda pid=gateway.process.pid: not engines_of(pid))  # type: ignore[misc]
