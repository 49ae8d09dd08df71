"""Engines on three nodes of a real cluster, with a gateway that places, watches and loses them."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.cluster.conftest import Nodes, engines_anywhere, entry
from tests.support.gateway import PATIENCE_S, Gateway, events, eventually

SLOW = ("--tps", "20", "--tokens", "4000")


def hosts(gateway: Gateway) -> dict[str, str | None]:
    """Where each engine that is up runs."""
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {row["alias"]: row["host"] for row in rows if row["host"]}


def sidecar_of(gateway: Gateway) -> psutil.Process:
    children = psutil.Process(gateway.process.pid).children()
    return next(child for child in children if "llama_tandem.sidecar" in child.cmdline())


def sidecar_folders(gateway: Gateway) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"tandem-{gateway.process.pid}:*"))


def texts(stream: Any) -> Iterator[Any]:
    with suppress(httpx2.HTTPError):
        yield from events(stream)


def test_a_model_runs_on_a_node_that_its_entry_names(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    """With a random key, on the node's own address; models of this machine beside it."""
    here = entry(nodes, "local")
    made = gateway(models={"a": entry(nodes, "box1"), "b": entry(nodes, "box2"), "here": here})
    for model in ("a", "b", "here"):
        assert made.chat(model).status_code == 200, made.chat(model).text
    assert hosts(made) == {"a": "box1", "b": "box2", "here": "local"}
    told = made.command("ps")
    assert "box1" in told.stdout and "local" in told.stdout
    engine = next(process for process in engines_anywhere(nodes.folder) if "a" in process.cmdline())
    environment = engine.environ()
    assert not any("RAY" in name or name == "OMP_NUM_THREADS" for name in environment), sorted(environment)
    assert environment["LLAMA_API_KEY"] and "127.0.0.1" not in engine.cmdline()


def test_a_node_holds_as_many_engines_as_it_may(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    """Room is made on a node as on this machine; the last node of an engine comes first."""
    made = gateway(models={name: entry(nodes, "box*") for name in ("a", "b", "c", "d")})
    for model in ("a", "b", "c"):
        assert made.chat(model).status_code == 200
    first = hosts(made)
    assert sorted(first.values()) == ["box1", "box2", "box3"]
    assert made.chat("d").status_code == 200
    now = hosts(made)
    assert len(now) == 3 and now["d"] == first[next(iter(first.keys() - now.keys()))]


def test_a_killed_engine_starts_again(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    made = gateway(models={"a": entry(nodes, "box2")})
    assert made.chat("a").status_code == 200
    (engine,) = engines_anywhere(nodes.folder)
    engine.kill()
    eventually(lambda: made.chat("a").status_code == 200)
    assert made.metric('engine_exits_total{alias="a",cause="killed"}') == 1


def test_the_sidecar_killed_takes_no_gateway_along(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    """Engines of nodes are gone at once. The nodes come back with a new sidecar."""
    here = entry(nodes, "local")
    made = gateway(models={"a": entry(nodes, "box2"), "here": here}, queue_timeout=60)
    assert made.chat("a").status_code == made.chat("here").status_code == 200
    sidecar_of(made).kill()
    eventually(lambda: not any("a" in process.cmdline() for process in engines_anywhere(nodes.folder)))
    assert made.chat("here").status_code == 200
    eventually(lambda: made.chat("a").status_code == 200, within=60)


def test_nothing_survives_a_killed_gateway(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    """No engine, and no folder of the sidecar."""
    made = gateway(models={"a": entry(nodes, "box2")})
    assert made.chat("a").status_code == 200
    assert len(sidecar_folders(made)) == 1
    made.process.kill()
    eventually(lambda: not engines_anywhere(nodes.folder))
    eventually(lambda: not sidecar_folders(made))


def test_a_folder_that_gateway_and_sidecar_left_goes_at_the_next_start(
    nodes: Nodes, gateway: Callable[..., Gateway]
) -> None:
    made = gateway(models={"a": entry(nodes, "box2")})
    (left,) = sidecar_folders(made)
    os.kill(made.process.pid, signal.SIGSTOP)
    sidecar_of(made).kill()
    made.process.kill()
    made.process.wait()
    assert sidecar_folders(made) == [left]
    gateway(models={"a": entry(nodes, "box2")})
    assert not left.exists()


def test_a_gateway_without_its_head_serves_its_own_models(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    """And says what is away."""
    here = entry(nodes, "local")
    away = {"address": "127.0.0.1:9", "token": "env:CLUSTER_TOKEN"}
    made = gateway(joined=0, cluster=away, models={"a": entry(nodes, "box2"), "here": here})
    assert made.chat("here").status_code == 200
    eventually(lambda: made.logged("the cluster is not connected"), within=90)
    refused = made.chat("a")
    assert refused.status_code == 503 and "the cluster is not connected" in refused.json()["error"]["message"]


def test_a_wrong_token_is_told(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    cluster = {"address": nodes.address, "token": f"file:{nodes.folder / 'token'}"}
    (nodes.folder / "token").write_text("another-" + "y" * 40)
    made = gateway(joined=0, cluster=cluster, models={"a": entry(nodes, "box2")})
    told = eventually(lambda: made.logged("the cluster is not connected"), within=120)
    assert "token" in told[0]["event"]


def test_a_stream_to_a_killed_node_ends_and_the_other_goes_on(nodes: Nodes, gateway: Callable[..., Gateway]) -> None:
    """It never ends cleanly, and the next request is answered elsewhere. The last test: the node stays away."""
    made = gateway(models={"a": entry(nodes, "box3", "box1", args=SLOW), "b": entry(nodes, "box2", args=SLOW)})
    with made.stream("b") as other, made.stream("a") as stream:
        beside, lost = texts(other), texts(stream)
        next(beside), next(lost)
        node = hosts(made)["a"]
        assert node is not None
        os.kill(nodes.raylets[node], signal.SIGKILL)
        began = time.monotonic()
        rest = list(lost)
        assert time.monotonic() - began < PATIENCE_S and "[DONE]" not in rest
        eventually(lambda: not any("a" in process.cmdline() for process in engines_anywhere(nodes.folder)))
        next(beside)
    answer = made.chat("a", max_tokens=2)
    assert answer.status_code == 200 and hosts(made)["a"] not in (node, None), answer.text
