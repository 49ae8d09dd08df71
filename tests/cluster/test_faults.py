"""Faults of machines under load, each with its figures. No cut stream ends cleanly, and no other node's is touched."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.cluster.conftest import Figures
from tests.cluster.machines import BOXES, BRIDGE, UP_WITHIN_S, Machine, Machines, seconds_since
from tests.support.gateway import PATIENCE_S, Gateway, events, eventually

pytestmark = [
    pytest.mark.skipif(not BRIDGE, reason="this machine allows no network of its own (scripts/run-cluster makes it)"),
    pytest.mark.timeout(420),
]

SLOW = ("--tps", "20", "--tokens", "100000")
LEASE_S = 6.0
# What the issue of each figure promises, and what a machine with other work adds
CUT_STREAM_ENDS_S, NEXT_ANSWER_S, NOTHING_LEFT_S = 5.0, 3.0, 1.0
SLACK_S = 3.0


class Reader(threading.Thread):
    """Reads a stream to its end, whatever that is."""

    def __init__(self, gateway: Gateway, model: str, **body: Any) -> None:
        super().__init__(daemon=True)
        self._gateway = gateway
        self._body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]} | body
        self.tokens: list[str] = []
        self.clean = False
        self.ended = 0.0
        self.start()
        eventually(lambda: len(self.tokens) > 2)

    def run(self) -> None:
        url = f"{self._gateway.url}/v1/chat/completions"
        with suppress(httpx2.HTTPError), httpx2.stream("POST", url, json=self._body, timeout=300) as response:
            for event in events(response):
                if event == "[DONE]":
                    self.clean = True
                elif isinstance(event, dict) and (choices := event.get("choices")):
                    self.tokens += [choices[0]["delta"].get("content") or ""]
        self.ended = time.monotonic()

    @property
    def whole(self) -> bool:
        """No token is missing so far, and it goes on."""
        numbers = [int(word[1:]) for word in "".join(self.tokens).split()]
        return self.is_alive() and numbers == list(range(len(numbers)))

    def goes_on(self) -> None:
        """It gets more tokens."""
        so_far = len(self.tokens)
        eventually(lambda: len(self.tokens) > so_far + 2)
        assert self.whole


@pytest.fixture(scope="module")
def module_gateway(machines: Machines) -> Iterator[Callable[[], Gateway]]:
    """One gateway for all tests, started again by the test after one that killed it."""
    made: list[Gateway] = []

    def make() -> Gateway:
        if not made or made[-1].process.poll() is not None:
            made.append(new_gateway(machines, len(made)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def new_gateway(machines: Machines, number: int) -> Gateway:
    folder = machines.folder / f"gateway-{number}"
    folder.mkdir()
    models = {name: machines.entry("box*", args=SLOW) for name in ("a", "b")}
    models |= {"here": machines.entry("local", args=SLOW), "free": machines.entry("box*", args=SLOW)}
    models |= {name: machines.entry("box3") for name in ("c", "d")}
    models |= {name: machines.entry("full", args=SLOW) for name in ("e", "f")}
    cluster = {"address": machines.address, "token": "env:CLUSTER_TOKEN", "lease": f"{LEASE_S:g}s"}
    env = {"CLUSTER_TOKEN": machines.token}
    return Gateway(folder, env=env, cluster=cluster, models=models, log_level="debug", queue_timeout=120)


@pytest.fixture
def gateway(machines: Machines, module_gateway: Callable[[], Gateway]) -> Gateway:
    """All boxes are in the cluster, and no engine is up."""
    made = module_gateway()
    for box in machines.boxes.values():
        box.mend()
        if not box.runs:
            machines.join(box)
    eventually(lambda: nodes_of(made) == set(BOXES), within=UP_WITHIN_S)
    assert made.command("stop", "--all", "--now").returncode == 0
    return made


def nodes_of(gateway: Gateway) -> set[str]:
    """Boxes that take engines now."""
    rows = gateway.client.get("/admin/nodes", headers=gateway.admin).json()["data"]
    return {row["name"] for row in rows if row["state"] == "ready"} & set(BOXES)


def box_of(machines: Machines, gateway: Gateway, alias: str) -> Machine:
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    (row,) = (row for row in rows if row["alias"] == alias)
    return machines.boxes[row["host"]]


class Scene:
    """Streams of two models on two boxes, and one of this machine. A third box is free.

    The fault hits the box of `alias`, which is `on` if that is given.
    """

    def __init__(self, machines: Machines, gateway: Gateway, on: Machine | None = None) -> None:
        self.gateway = gateway
        self._machines = machines
        self.alias, beside = ("a", "b") if on is None else self._placed(on)
        self.lost = [Reader(gateway, self.alias) for _ in range(2)]
        self.beside = [Reader(gateway, beside), Reader(gateway, "here")]
        self.box = box_of(machines, gateway, self.alias)
        self.other = box_of(machines, gateway, beside)
        assert self.box is not self.other and self.box is (on or self.box)

    def _placed(self, box: Machine) -> tuple[str, str]:
        """Three models fill three boxes: the one on this box, and another. The third leaves."""
        models = ("a", "b", "free")
        for model in models:
            assert self.gateway.chat(model, max_tokens=1).status_code == 200
        here = next(model for model in models if box_of(self._machines, self.gateway, model) is box)
        other, third = (model for model in models if model != here)
        assert self.gateway.command("stop", third).returncode == 0
        return here, other

    def check(self, fault: Callable[[], object], figures: Figures, name: str, *, elsewhere: bool = True) -> None:
        """Does it, then looks at all that must hold."""
        began = time.monotonic()
        fault()
        for reader in self.lost:
            reader.join(PATIENCE_S)
            assert not reader.is_alive() and not reader.clean
        streams = max(reader.ended for reader in self.lost) - began
        asked = time.monotonic()
        answer = self.gateway.chat(self.alias, max_tokens=1)
        answered = seconds_since(asked)
        assert answer.status_code == 200, answer.text
        assert (box_of(self._machines, self.gateway, self.alias) is not self.box) is elsewhere
        for reader in self.beside:
            reader.goes_on()
        figures.add(name, f"streams ended after {streams:.2f} s, next answer {answered:.2f} s later")
        assert streams < CUT_STREAM_ENDS_S + SLACK_S
        assert answered < NEXT_ANSWER_S + SLACK_S


def agent_of(box: Machine) -> psutil.Process:
    (agent,) = box.of_kind("ray::AgentActor")
    return agent


def test_an_engine_is_killed(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """It starts again where it was."""
    scene = Scene(machines, gateway)
    scene.check(lambda: [engine.kill() for engine in scene.box.engines], figures, "engine -9", elsewhere=False)


def test_an_agent_is_killed(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    scene = Scene(machines, gateway)
    scene.check(lambda: agent_of(scene.box).kill(), figures, "agent -9")
    eventually(lambda: not scene.box.engines)
    eventually(lambda: nodes_of(gateway) == set(BOXES), within=UP_WITHIN_S)


def test_a_raylet_is_killed(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """`node start` joins again."""
    scene = Scene(machines, gateway)
    joined = len(scene.box.said("is in the cluster"))
    began = time.monotonic()
    scene.check(lambda: [raylet.kill() for raylet in scene.box.of_kind(r"raylet/raylet ")], figures, "raylet -9")
    eventually(lambda: not scene.box.engines)
    eventually(lambda: len(scene.box.said("is in the cluster")) > joined, within=UP_WITHIN_S)
    eventually(lambda: nodes_of(gateway) == set(BOXES), within=UP_WITHIN_S)
    figures.add("raylet -9", f"the node was back after {seconds_since(began):.1f} s")


def test_a_whole_node_is_killed_and_comes_back_under_load(
    machines: Machines, gateway: Gateway, figures: Figures
) -> None:
    """A node that joins disturbs no stream, and takes the next model."""
    scene = Scene(machines, gateway)
    scene.check(scene.box.kill, figures, "whole node -9")
    began = time.monotonic()
    machines.join(scene.box)
    eventually(lambda: nodes_of(gateway) == set(BOXES), within=UP_WITHIN_S)
    figures.add("a node joins under load", f"after {seconds_since(began):.1f} s")
    assert gateway.chat("free", max_tokens=1).status_code == 200
    assert box_of(machines, gateway, "free") is scene.box
    for reader in scene.beside:
        reader.goes_on()


def test_a_network_is_cut(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """The engine behind the cut is dead within the lease. Once the network is back, so is the node."""
    scene = Scene(machines, gateway)
    engines = scene.box.engines
    died: list[float] = []
    began = time.monotonic()

    def watch() -> None:
        psutil.wait_procs(engines, timeout=PATIENCE_S)
        died.append(seconds_since(began))

    watching = threading.Thread(target=watch)
    watching.start()
    scene.check(scene.box.cut, figures, "network cut")
    watching.join()
    figures.add("network cut", f"engine behind it dead after {died[0]:.2f} s, lease {LEASE_S:g} s")
    assert not scene.box.engines and died[0] < LEASE_S + SLACK_S
    mended = time.monotonic()
    scene.box.mend()
    eventually(lambda: nodes_of(gateway) == set(BOXES), within=UP_WITHIN_S)
    figures.add("network cut", f"mended: the node was back after {seconds_since(mended):.1f} s")


def test_the_sidecar_is_killed(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """Engines of nodes end, this machine's stream goes on, and the nodes come back."""
    scene = Scene(machines, gateway)
    children = psutil.Process(gateway.process.pid).children()
    (sidecar,) = (child for child in children if "llama_tandem.sidecar" in child.cmdline())
    began = time.monotonic()
    sidecar.kill()
    for reader in (*scene.lost, scene.beside[0]):
        reader.join(PATIENCE_S)
        assert not reader.is_alive() and not reader.clean
    eventually(lambda: not any(box.engines for box in machines.boxes.values()))
    figures.add("sidecar -9", f"no engine on nodes after {seconds_since(began):.2f} s")
    scene.beside[1].goes_on()
    eventually(lambda: gateway.chat("a", max_tokens=1).status_code == 200, within=UP_WITHIN_S)
    figures.add("sidecar -9", f"answered again after {seconds_since(began):.1f} s")


def test_the_head_is_restarted(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """Engines and streams are untouched, and another engine starts afterwards."""
    scene = Scene(machines, gateway)
    engines = [engine.pid for box in machines.boxes.values() for engine in box.engines]
    starts = len(machines.head.said("is the head"))
    began = time.monotonic()
    for server in machines.head.of_kind(r"gcs/gcs_server "):
        server.kill()
    eventually(lambda: len(machines.head.said("is the head")) > starts, within=UP_WITHIN_S)
    figures.add("head restarted", f"up again after {seconds_since(began):.1f} s")
    for reader in (*scene.lost, *scene.beside):
        reader.goes_on()
    eventually(lambda: gateway.chat("free", max_tokens=1).status_code == 200, within=UP_WITHIN_S)
    figures.add("head restarted", f"a cold start worked after {seconds_since(began):.1f} s")
    assert set(engines) <= {engine.pid for box in machines.boxes.values() for engine in box.engines}
    for reader in (*scene.lost, *scene.beside):
        reader.goes_on()


def test_two_models_start_at_once_on_one_node(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """Each on a port of its own."""
    gateway.reload(max_loaded=2)
    answers: dict[str, int] = {}

    def ask(model: str) -> None:
        with httpx2.Client(base_url=gateway.url, timeout=60) as client:
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            answers[model] = client.post("/v1/chat/completions", json=body).status_code

    began = time.monotonic()
    askers = [threading.Thread(target=ask, args=(model,)) for model in ("c", "d")]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert answers == {"c": 200, "d": 200}
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    ports = [row["port"] for row in rows if row["host"] == "box3"]
    assert len(ports) == len(set(ports)) == 2
    figures.add("two starts at once", f"both answered after {seconds_since(began):.2f} s")
    gateway.reload(max_loaded=1)


@pytest.fixture
def full(machines: Machines) -> Iterator[Machine]:
    """A machine with a small disk of its own, for Ray's files too."""
    disk = Path(tempfile.mkdtemp(prefix="d", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    made = Machine(disk, "full", 77, machines.token)
    try:
        machines.join(made, env={"TMPDIR": str(disk)})
        yield made
    finally:
        made.close()
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()


def test_a_disk_is_full(machines: Machines, gateway: Gateway, full: Machine, figures: Figures) -> None:
    """Its streams go on, and another model still starts there. No other node notices."""
    gateway.reload(max_loaded=2)
    eventually(lambda: full.said("is in the cluster"), within=UP_WITHIN_S)
    rows = f"{gateway.url}/admin/nodes"
    eventually(lambda: "full" in httpx2.get(rows, headers=gateway.admin).text, within=UP_WITHIN_S)
    readers = [Reader(gateway, model) for model in ("e", "b", "here")]
    with (full.folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(1 << 20)):
            pass
    assert shutil.disk_usage(full.folder).free < 1 << 20
    for reader in readers:
        reader.goes_on()
    began = time.monotonic()
    assert gateway.chat("f", max_tokens=1).status_code == 200
    figures.add("a full disk", f"another model answered there after {seconds_since(began):.2f} s")
    for reader in readers:
        reader.goes_on()
    gateway.reload(max_loaded=1)


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define AHEAD 60
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += AHEAD;
    return result;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec, at->tv_usec = now.tv_nsec / 1000;
    return result;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="the other clock is a library in C")
def test_clocks_are_a_minute_apart(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """The lease neither ends an engine early nor late."""
    library, source = machines.folder / "clock.so", machines.folder / "clock.c"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    shifted = machines.boxes["box1"]
    shifted.stop_node()
    eventually(lambda: "box1" not in nodes_of(gateway), within=PATIENCE_S)
    machines.join(shifted, env={"LD_PRELOAD": str(library)})
    eventually(lambda: nodes_of(gateway) == set(BOXES), within=UP_WITHIN_S)
    scene = Scene(machines, gateway, on=shifted)
    began = time.monotonic()
    eventually(lambda: seconds_since(began) > LEASE_S + 1)
    for reader in (*scene.lost, *scene.beside):
        reader.goes_on()
    engines = shifted.engines
    cut = time.monotonic()
    scene.check(shifted.cut, figures, "clocks a minute apart, then a cut")
    psutil.wait_procs(engines, timeout=PATIENCE_S)
    died = seconds_since(cut)
    figures.add("clocks a minute apart, then a cut", f"engine behind it dead after {died:.2f} s")
    assert not shifted.engines and died < LEASE_S + SLACK_S
    shifted.mend()
    shifted.stop_node()


def test_the_gateway_is_killed(machines: Machines, gateway: Gateway, figures: Figures) -> None:
    """No engine is left anywhere after a second."""
    Scene(machines, gateway)
    began = time.monotonic()
    gateway.process.kill()
    eventually(lambda: not any(box.engines for box in machines.boxes.values()))
    took = seconds_since(began)
    figures.add("gateway -9", f"no engine anywhere after {took:.2f} s")
    assert took < NOTHING_LEFT_S + SLACK_S
