"""A cluster of three nodes for a module, and a gateway that uses it."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.supervisor.orphans import MARKER
from tests.cluster.machines import BOXES, Machines
from tests.support.gateway import Gateway, eventually, fake_llama_server, header_only

TOKEN = "of-these-tests-" + "x" * 40
_UP_WITHIN_S = 180.0


def foreign_app_first(folder: Path) -> str:
    """PYTHONPATH with another project's `app` before ours, as in a folder of many web projects."""
    foreign = folder / "foreign"
    (foreign / "app").mkdir(parents=True, exist_ok=True)
    (foreign / "app" / "__init__.py").write_text("raise SystemExit('the foreign app was imported')\n")
    return os.pathsep.join((str(foreign), os.environ.get("PYTHONPATH", "")))


class Nodes:
    """The cluster: its head and nodes, all on this machine."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "PYTHONPATH": foreign_app_first(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray"),
            "TANDEM_LLAMA_SERVER": str(fake_llama_server(folder)),
            "TANDEM_MODELS_DIR": str(folder),
            "TANDEM_STATE_DIR": str(folder / "node-state"),
            "TANDEM_CACHE_DIR": str(folder / "node-cache"),
        }
        argv = [sys.executable, "-m", "tests.cluster.nodes", *names]
        self._process = subprocess.Popen(
            argv, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        told = json.loads(self._line())
        self.address: str = told["address"]
        self.raylets: dict[str, int] = told["raylets"]

    def _line(self) -> str:
        assert self._process.stdout is not None
        while True:
            ready, _, _ = select.select([self._process.stdout], [], [], _UP_WITHIN_S)
            assert ready, f"the cluster is not up within {_UP_WITHIN_S:g} s"
            line = self._process.stdout.readline()
            assert line, "the cluster did not start"
            with suppress(ValueError):
                json.loads(line)
                return line

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("RAY_TMPDIR") == self.env["RAY_TMPDIR"]:
                    process.kill()
        self._process.wait(10)
        self._process.stdout.close()
        shutil.rmtree(self.env["RAY_TMPDIR"], ignore_errors=True)

    @property
    def processes(self) -> list[psutil.Process]:
        """Every process of the cluster, agents and the sidecar included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("RAY_TMPDIR") == self.env["RAY_TMPDIR"]:
                    found.append(process)
        return found


def engines_anywhere(folder: Path) -> list[psutil.Process]:
    """The engines below a folder, whichever agent or gateway has started them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = any(str(folder) in word for word in process.cmdline())
            if ours and MARKER in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = Nodes(tmp_path_factory.mktemp("nodes"), "box1", "box2", "box3")
    yield made
    made.close()
    eventually(lambda: not made.processes)


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Machines with addresses of their own, for tests that cut networks and kill whole nodes."""
    made = Machines(tmp_path_factory.mktemp("machines"), TOKEN, *BOXES)
    try:
        made.is_up()
        yield made
    finally:
        made.close()
    assert not made.processes
    # The network is this run's own: nobody else listens there
    assert [socket for socket in psutil.net_connections("tcp") if socket.status == psutil.CONN_LISTEN] == []
    assert made.links == ""


@pytest.fixture
def gateway(nodes: Nodes, tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """`gateway(models={...})`: one that knows the cluster, once so many nodes have joined."""
    made: list[Gateway] = []

    def make(*, joined: int = 3, **settings: Any) -> Gateway:
        folder = tmp_path / f"gateway-{len(made)}"
        folder.mkdir()
        cluster = {"address": nodes.address, "token": "env:CLUSTER_TOKEN", "lease": "6s"}
        env = {
            "CLUSTER_TOKEN": TOKEN,
            "RAY_TMPDIR": nodes.env["RAY_TMPDIR"],
            "PYTHONPATH": foreign_app_first(folder),
        }
        made.append(Gateway(folder, env=env, **{"cluster": cluster, "log_level": "debug"} | settings))
        eventually(lambda: len(made[-1].logged("joined")) >= joined, within=120)
        return made[-1]

    yield make
    for one in made:
        one.close()
    eventually(lambda: not engines_anywhere(nodes.folder) and not engines_anywhere(tmp_path))


def entry(nodes: Nodes, *names: str, args: tuple[str, ...] = ()) -> dict[str, Any]:
    """A model on the fake engine, for these nodes."""
    model = header_only(nodes.folder / "model.gguf")
    return {"target": {"path": str(model)}, "args": list(args), "nodes": list(names), "parallel": 4}


class Figures:
    """What tests have measured, printed at the end of the run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, what: str, figure: str) -> None:
        self.lines.append(f"{what}: {figure}")


_FIGURES = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    return _FIGURES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _FIGURES.lines:
        terminalreporter.section("figures of faults")
        for line in _FIGURES.lines:
            terminalreporter.write_line(line)
