"""Gateways for tests: made with `make_gateway`, ended with the test, and nobody of theirs may survive."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support import soak
from tests.support.gateway import Gateway, engines_of, eventually, header_only

HERE = Path(__file__).parent

# A busy machine may take its time: no test asserts one, and hypothesis's deadline of 200 ms would.
settings.register_profile("patient", deadline=None, max_examples=50)
settings.register_profile("quick", deadline=None, max_examples=20)
settings.register_profile("soak", deadline=None, max_examples=max(100, int(10 * soak.SECONDS)))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "patient"))

# Those with the longest tests first, so that no worker has one left when the others are done.
_ORDER = (
    *("browser", "cluster", "upstream", "soak", "gpu", "engine", "conformance", "faults", "field", "integration"),
    "unit",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first; tests that share a gateway go to one worker of pytest-xdist."""
    items.sort(key=lambda item: _ORDER.index(item.path.relative_to(HERE).parts[0]))
    for item in items:
        if group := _shared(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _shared(item: pytest.Item) -> str | None:
    """The module's or folder's fixture that a test uses, with its parameter: made once by the worker that has it."""
    if not isinstance(item, pytest.Function):
        return None
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    for name, found in item._fixtureinfo.name2fixturedefs.items():
        if found[-1].scope in ("module", "package"):
            return f"{found[-1].baseid}:{name}:{parameters.get(name, '')}"
    return None


@pytest.fixture(scope="session", autouse=True)
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State and caches of nobody: keys and ledger of the person who runs the tests are neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of one model `m` on a fake engine, for tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("plain")
    model = header_only(folder / "model.gguf")
    gateway = Gateway(folder, models={"m": {"target": {"path": str(model)}}})
    yield gateway
    gateway.close()


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
