"""A real llama-server with a draft model on a node that is killed: the proof of its drafts, and the move to another."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Figures
from tests.cluster.machines import BRIDGE, UP_WITHIN_S, Machine, Machines, seconds_since
from tests.cluster.test_faults import Reader
from tests.support import tiny_models
from tests.support.gateway import PATIENCE_S, Gateway, eventually
from tests.support.paths import ROOT

_FOUND = subprocess.run([ROOT / "scripts/install-llama-server", "--print"], capture_output=True, text=True, check=False)
BINARY = _FOUND.stdout.strip() if _FOUND.returncode == 0 else ""
NAMES = ("real1", "real2")
# Of a stream that is not over before the fault
CONTEXT = 32768

pytestmark = [
    pytest.mark.skipif(not BRIDGE, reason="this machine allows no network of its own (scripts/run-cluster makes it)"),
    pytest.mark.skipif(not BINARY, reason="there is no llama-server (make llama-server)"),
    pytest.mark.timeout(420),
]


@pytest.fixture
def real(machines: Machines, tmp_path: Path) -> Iterator[dict[str, Machine]]:
    """Two machines with a real llama-server."""
    made = {name: Machine(tmp_path, name, 91 + number, machines.token) for number, name in enumerate(NAMES)}
    for machine in made.values():
        machines.join(machine, env={"TANDEM_LLAMA_SERVER": BINARY})
    yield made
    for machine in made.values():
        machine.close()


def test_a_real_engine_moves_from_a_killed_node(
    machines: Machines, real: dict[str, Machine], tmp_path: Path, figures: Figures
) -> None:
    target = tiny_models.write_target(tmp_path / "target.gguf", context=CONTEXT)
    draft = tiny_models.write_draft(tmp_path / "draft.gguf")
    entry = {"target": {"path": str(target)}, "draft": {"path": str(draft)}, "ctx_size": CONTEXT, "threads": 1}
    cluster = {"address": machines.address, "token": f"file:{machines.folder / 'token'}"}
    gateway = Gateway(tmp_path, cluster=cluster, models={"m": entry | {"nodes": list(NAMES)}})
    try:
        eventually(lambda: len(gateway.logged("node real")) == len(real), within=UP_WITHIN_S)
        answer = gateway.chat("m", max_tokens=8)
        assert answer.status_code == 200 and answer.headers["x-tandem-speculation"].startswith("draft"), answer.headers
        stream = Reader(gateway, "m", max_tokens=CONTEXT - 100, ignore_eos=True)
        (row,) = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
        began = time.monotonic()
        real[row["host"]].kill()
        stream.join(PATIENCE_S)
        ended = stream.ended - began
        assert not stream.is_alive() and not stream.clean
        answer = gateway.chat("m", max_tokens=8)
        assert answer.status_code == 200, answer.text
        answered = seconds_since(began)
        (now,) = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
        assert now["host"] in NAMES and now["host"] != row["host"]
        figures.add(
            "a real engine's node -9", f"stream ended after {ended:.2f} s, the next answer after {answered:.2f} s"
        )
    finally:
        gateway.close()
