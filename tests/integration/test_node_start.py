"""`node start` around a stand-in for `ray start`: what it says, when it tries again, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.cli.node_start import own_address
from app.cluster.node_leftovers import NODE_MARKER
from app.errors import NodeNotStartedError
from tests.support.gateway import eventually
from tests.support.paths import ROOT
from tests.support.ports import free_port

# One worker: each start clears what a killed command has left, on the whole machine
pytestmark = pytest.mark.xdist_group("node start")

TOKEN = "a-long-token-" + "x" * 40


class NodeCommand:
    """`node start --head` as a process."""

    def __init__(self, folder: Path, behaviour: str) -> None:
        self._state = str(folder / "state")
        (folder / "state").mkdir(exist_ok=True)
        first = free_port()
        self.output = folder / f"output-{first}"
        address = own_address()
        options = ["--head", "--token", "env:CLUSTER_TOKEN", "--address", address, "--port", str(free_port())]
        options += ["--ports", f"{first}-{first + 9}", "--name", "box1"]
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(ROOT / "tests" / "support" / "fake_ray"), str(ROOT))),
            "FAKE_RAY": behaviour,
            "CLUSTER_TOKEN": TOKEN,
            "TANDEM_STATE_DIR": self._state,
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "llama_tandem", "node", "start", *options],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def said(self, text: str) -> bool:
        return text in self.output.read_text()

    @property
    def children(self) -> list[psutil.Process]:
        """Processes of its node, also those with a session of their own."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if NODE_MARKER in environment and environment.get("TANDEM_STATE_DIR") == self._state:
                    found.append(process)
        return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[[str], NodeCommand]]:
    try:
        own_address()
    except NodeNotStartedError:
        pytest.skip("this machine has no address but loopback")
    made: list[NodeCommand] = []

    def make(behaviour: str) -> NodeCommand:
        made.append(NodeCommand(tmp_path, behaviour))
        return made[-1]

    yield make
    for command in made:
        command.process.kill()
        command.process.wait()
        for process in command.children:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_and_all_its_processes(
    node: Callable[[str], NodeCommand], number: signal.Signals
) -> None:
    command = node("up")
    eventually(lambda: command.said("Other machines: llama-tandem node start --join"))
    assert len(command.children) == 2
    assert not any(TOKEN in " ".join(process.cmdline()) for process in command.children)
    command.process.send_signal(number)
    assert command.process.wait(30) == 0 and not command.children


def test_a_node_that_ends_is_started_again(node: Callable[[str], NodeCommand]) -> None:
    """With the reason."""
    command = node("ends")
    eventually(lambda: command.said("The node ended: its raylet ended with -9; trying again in 1 s."))
    eventually(lambda: command.output.read_text().count("is the head of the cluster") == 2)
    eventually(lambda: len(command.children) == 2)


def test_a_killed_command_leaves_nothing_for_long(node: Callable[[str], NodeCommand]) -> None:
    """`ray start` ends with it. The next start clears the rest."""
    command = node("up")
    eventually(lambda: len(command.children) == 2)
    folders = set(Path(tempfile.gettempdir()).glob("tandem-ray-*"))
    command.process.kill()
    command.process.wait()
    eventually(lambda: len(command.children) == 1)
    (left,) = command.children
    again = node("up")
    eventually(lambda: again.said("is the head of the cluster"))
    assert left not in again.children and len(again.children) == 2
    gone = folders - set(Path(tempfile.gettempdir()).glob("tandem-ray-*"))
    assert gone, "the folder of the killed command"


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("mismatch", "it has Ray 2.60.0 instead of 2.61.0, which the head has; install the same version on both."),
        ("token", "the head refuses the token; every machine of a cluster needs the same one."),
    ],
)
def test_a_node_that_can_never_join_ends_with_the_reason(
    node: Callable[[str], NodeCommand], behaviour: str, told: str
) -> None:
    command = node(behaviour)
    assert command.process.wait(60) == 1
    assert command.said(told) and not command.said("Traceback") and not command.children
