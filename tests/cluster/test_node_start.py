"""`node start` and `node ls`: nodes that are refused, with reasons, and a command that leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cluster.node_leftovers import NODE_MARKER
from tests.cluster.conftest import Figures, foreign_app_first
from tests.cluster.machines import BRIDGE, UP_WITHIN_S, Machine, Machines, seconds_since
from tests.support.gateway import Gateway, eventually

pytestmark = [
    pytest.mark.skipif(not BRIDGE, reason="this machine allows no network of its own (scripts/run-cluster makes it)"),
    pytest.mark.timeout(420),
]


@pytest.fixture
def visitor(machines: Machines, tmp_path: Path) -> Iterator[Machine]:
    """A machine that is not in the cluster yet."""
    made = Machine(tmp_path, "visitor", 99, machines.token)
    yield made
    made.close()


@pytest.fixture
def gateway(machines: Machines, tmp_path: Path) -> Iterator[Gateway]:
    cluster = {"address": machines.address, "token": f"file:{machines.folder / 'token'}"}
    models = {"a": machines.entry("visitor")}
    made = Gateway(tmp_path, cluster=cluster, models=models)
    yield made
    made.close()


def test_a_node_of_another_version_is_refused_by_name(machines: Machines, visitor: Machine, gateway: Gateway) -> None:
    """In the log, in `node ls`, and in the answer to a request that needs it."""
    metadata = visitor.folder / "packages" / "llama_tandem-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: llama-tandem\nVersion: 9.9\n")
    ours = foreign_app_first(visitor.folder)
    visitor.start_node("--join", machines.address, env={"PYTHONPATH": f"{metadata.parents[1]}:{ours}"})
    eventually(lambda: gateway.logged("node visitor takes no engines"), within=UP_WITHIN_S)
    told = gateway.command("node", "ls")
    assert told.returncode == 0 and "llama-tandem 9.9 instead of" in told.stdout, told.stdout + told.stderr
    refused = gateway.chat("a")
    assert refused.status_code == 503 and "llama-tandem 9.9 instead of" in refused.json()["error"]["message"]


def test_a_node_with_a_foreign_app_first_runs_ours(machines: Machines, visitor: Machine, gateway: Gateway) -> None:
    visitor.start_node("--join", machines.address, env={"PYTHONPATH": foreign_app_first(visitor.folder)})
    eventually(lambda: gateway.logged("node visitor joined"), within=UP_WITHIN_S)
    assert gateway.chat("a").status_code == 200
    (engine,) = visitor.engines
    environment = engine.environ()
    unwanted = [name for name in environment if "RAY" in name or name in ("OMP_NUM_THREADS", NODE_MARKER)]
    assert not unwanted and machines.token not in environment.values()
    rows = gateway.client.get("/admin/nodes", headers=gateway.admin).json()["data"]
    (row,) = (row for row in rows if row["name"] == "visitor")
    assert (row["state"], row["address"], row["engines"]) == ("ready", visitor.address, 1)


def test_a_wrong_token_ends_the_command(machines: Machines, visitor: Machine) -> None:
    wrong = visitor.folder / "wrong"
    wrong.write_text("another-" + "y" * 40)
    visitor.start_node("--join", machines.address, "--token", f"file:{wrong}")
    eventually(lambda: not visitor.runs, within=UP_WITHIN_S)
    assert visitor.said("the head refuses the token") and not visitor.said("Traceback"), visitor.output
    assert not visitor.processes


def test_a_port_that_is_taken_is_named(machines: Machines, visitor: Machine) -> None:
    script = "import socket, time; s = socket.create_server(('', 6401)); print(1, flush=True); time.sleep(99)"
    holder = subprocess.Popen([*visitor.inside, sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    visitor.start_node("--join", machines.address)
    eventually(lambda: not visitor.runs, within=UP_WITHIN_S)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert visitor.said("Port 6401 is not free: Address already in use. Choose another with --ports."), visitor.output


def test_an_absent_head_is_waited_for(machines: Machines, visitor: Machine) -> None:
    visitor.start_node("--join", f"{machines.head.address}:9")
    eventually(lambda: visitor.said("does not answer: Connection refused; trying again"))
    assert visitor.stop_node(signal.SIGINT) == 0


def test_the_command_leaves_no_process(machines: Machines, visitor: Machine, figures: Figures) -> None:
    """After SIGTERM, Ctrl-C, and a `kill -9` of the command."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        joined = len(visitor.said("is in the cluster"))
        machines.join(visitor)
        eventually(lambda joined=joined: len(visitor.said("is in the cluster")) > joined, within=UP_WITHIN_S)
        eventually(lambda: visitor.of_kind("raylet"))
        began = time.monotonic()
        code = visitor.stop_node(number)
        eventually(lambda: not visitor.processes)
        figures.add("node start ended", f"{number.name}: nothing left after {seconds_since(began):.1f} s")
        assert code == (-signal.SIGKILL if number is signal.SIGKILL else 0)
