"""Machines for tests: network namespaces behind a bridge of `scripts/run-cluster`, each with a node of the cluster.

They share this machine's processors, memory and files. Each has an address, and folders of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from app.cluster.node_leftovers import NODE_MARKER
from tests.support import tiny_models
from tests.support.gateway import eventually, fake_llama_server, header_only

HEAD_PORT = 6379
BOXES = ("box1", "box2", "box3")
BRIDGE = os.environ.get("CLUSTER_BRIDGE", "")
# Five nodes start at once, on a machine with other work
UP_WITHIN_S = 180.0
_NETWORK = "10.77.0"


class Machine:
    """A namespace with an address. Without a number it is this one, with the bridge's address."""

    def __init__(self, folder: Path, name: str, number: int, token: str) -> None:
        self.name = name
        self.address = f"{_NETWORK}.{number}"
        self.folder = folder / name
        self.folder.mkdir()
        self.output: list[str] = []
        self._link = f"veth-{name}" if number > 1 else ""
        self._holder: subprocess.Popen[bytes] | None = None
        if self._link:
            self._plug_in()
        self._node: subprocess.Popen[str] | None = None
        self._token = folder / "token"
        self._token.write_text(token)

    def _plug_in(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = Path("/proc/self/ns/net").readlink()
        eventually(lambda: Path(f"/proc/{self._holder_pid}/ns/net").readlink() != own)
        ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder_pid))
        ip("link", "set", self._link, "master", BRIDGE, "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.address}/16", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "dev", "eth0")

    @property
    def _holder_pid(self) -> int:
        assert self._holder is not None
        return self._holder.pid

    @property
    def inside(self) -> list[str]:
        return ["nsenter", "--target", str(self._holder_pid), "--net", "--"] if self._link else []

    def run(self, *argv: str) -> None:
        subprocess.run([*self.inside, *argv], check=True)

    def cut(self) -> None:
        """Nothing passes any more, and no side is told."""
        ip("link", "set", self._link, "down")

    def mend(self) -> None:
        ip("link", "set", self._link, "up")

    # -- the node ------------------------------------------------------------------------------------------------

    def start_node(self, *options: str, env: dict[str, str] | None = None) -> None:
        """`node start` with these options, as a user runs it."""
        argv = [sys.executable, "-P", "-m", "llama_tandem", "node", "start", "--name", self.name]
        argv += ["--address", self.address, "--token", f"file:{self._token}", *options]
        header_only(self.folder / "model.gguf")
        environment = os.environ | {
            "TANDEM_LLAMA_SERVER": str(fake_llama_server(self.folder)),
            "TANDEM_STATE_DIR": str(self.folder / "state"),
            "TANDEM_CACHE_DIR": str(self.folder / "cache"),
            "TANDEM_MODELS_DIR": str(self.folder),
            **(env or {}),
        }
        self._node = subprocess.Popen(
            [*self.inside, *argv],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._node,), daemon=True).start()

    def _read(self, node: subprocess.Popen[str]) -> None:
        assert node.stdout is not None
        with node.stdout:
            self.output.extend(node.stdout)

    def said(self, text: str) -> list[str]:
        return [line for line in self.output if text in line]

    @property
    def supervisor(self) -> int:
        assert self._node is not None
        return self._node.pid

    @property
    def runs(self) -> bool:
        return self._node is not None and self._node.poll() is None

    @property
    def processes(self) -> list[psutil.Process]:
        """The Ray of this machine, with its agents."""
        return [process for process in all_processes() if _variable(process, "TANDEM_STATE_DIR") == self._state]

    @property
    def _state(self) -> str:
        return str(self.folder / "state")

    def of_kind(self, pattern: str) -> list[psutil.Process]:
        """Those of its processes whose command line holds this."""
        return [process for process in self.processes if re.search(pattern, _words(process))]

    @property
    def engines(self) -> list[psutil.Process]:
        """Engines that run here."""
        return [process for process in all_processes() if self._runs_here(process)]

    def _runs_here(self, process: psutil.Process) -> bool:
        return str(self.folder / "llama-server") in _words(process)

    def kill(self) -> None:
        """Its power is cut: everything is gone at once."""
        victims = [*self.processes, *self.engines]
        assert self._node is not None
        os.kill(self.supervisor, signal.SIGKILL)
        for process in victims:
            with suppress(psutil.Error):
                process.kill()
        self._node.wait()

    def stop_node(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code of `node start`."""
        self.send(number)
        assert self._node is not None
        return self._node.wait(30)

    def send(self, number: signal.Signals) -> None:
        if self._node is not None and self._node.poll() is None:
            self._node.send_signal(number)

    def close(self) -> None:
        if self.runs:
            with suppress(subprocess.TimeoutExpired):
                self.stop_node(signal.SIGTERM)
        for process in [*self.processes, *self.engines]:
            with suppress(psutil.Error):
                process.kill()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def all_processes() -> list[psutil.Process]:
    alive = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _variable(process: psutil.Process, name: str) -> str | None:
    with suppress(psutil.Error):
        environment = process.environ()
        return environment.get(name) if NODE_MARKER in environment else None
    return None


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


class Machines:
    """A cluster of machines: `head`, `here` (this one, for the gateway), and boxes for engines."""

    def __init__(self, folder: Path, token: str, *boxes: str) -> None:
        self.folder = folder
        self.token = token
        self.head = Machine(folder, "head", 2, token)
        self.here = Machine(folder, "here", 1, token)
        self.boxes = {name: Machine(folder, name, 11 + number, token) for number, name in enumerate(boxes)}
        self.address = f"{self.head.address}:{HEAD_PORT}"
        # A whole one, so that its memory is estimated alike on all machines before it is measured on one
        self._model = tiny_models.write_target(folder / "model.gguf")
        self.head.start_node("--head")
        eventually(lambda: self.head.said("is the head"), within=UP_WITHIN_S)
        for machine in (self.here, *self.boxes.values()):
            self.join(machine)

    def join(self, machine: Machine, env: dict[str, str] | None = None) -> None:
        machine.start_node("--join", self.address, env=env)

    def is_up(self) -> None:
        for machine in (self.here, *self.boxes.values()):
            eventually(lambda machine=machine: machine.said("is in the cluster"), within=UP_WITHIN_S)

    def entry(self, *boxes: str, args: tuple[str, ...] = ()) -> dict[str, Any]:
        """A model on the fake engine, for these boxes: each has the file at the same place of its folder."""
        return {"target": {"path": str(self._model)}, "args": list(args), "nodes": list(boxes), "parallel": 4}

    @property
    def processes(self) -> list[psutil.Process]:
        """Everything of every machine, engines included."""
        everything = (self.head, self.here, *self.boxes.values())
        return [process for machine in everything for process in (*machine.processes, *machine.engines)]

    @property
    def links(self) -> str:
        """Cables between machines."""
        listed = subprocess.run(["ip", "-oneline", "link", "show", "type", "veth"], capture_output=True, text=True)
        return listed.stdout

    def close(self) -> None:
        """All at once, the head last."""
        workers = (*self.boxes.values(), self.here)
        for machine in workers:
            machine.send(signal.SIGTERM)
        for machine in (*workers, self.head):
            machine.close()


def seconds_since(began: float) -> float:
    return time.monotonic() - began
