"""A node's agent and its host in the gateway, without Ray between them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from app.cluster.node_planner import PlanRequest
from app.config.model_entry import Files, LocalEntry
from app.config.speculation import Step
from app.engine.launch import LaunchPlan
from app.errors import FilesMissingError, HostLostError, NodeFailedError, NoPortError
from app.supervisor.activity import activity_of
from app.supervisor.child import Ended
from app.supervisor.engine_facts import LoadedFiles
from app.supervisor.host import SpawnOrder
from app.supervisor.readiness import fingerprint
from tests.support.gateway import fake_llama_server, header_only
from tests.support.node import a_node
from tests.support.ports import free_port

# The agent looks at every process of the machine; psutil leaves the file of one that ends meanwhile to the collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SPEAKS = "import sys, time; [print(n, flush=True) for n in range(3)]; print(sys.argv[1:], flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def order(id: str, script: str = SPEAKS) -> SpawnOrder:
    argv = (sys.executable, "-c", script, "--host", "127.0.0.1", "--port", "1")
    return SpawnOrder(id, argv, {"PATH": os.environ["PATH"]})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - polling is enough
            await asyncio.sleep(0.01)


def _block(seconds: float) -> None:
    """Blocks the event loop, which is the agent's too."""
    time.sleep(seconds)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await story()

    asyncio.run(main())


def test_a_child_on_a_node_is_like_one_here() -> None:
    """Its lines, its address, its signals and its end."""

    async def story() -> None:
        host, _ = await a_node()
        lines: list[str] = []
        child = await host.spawn(order("a"), lines.append)
        await until(lambda: len(lines) == 4)
        assert lines[:3] == ["0", "1", "2"] and f"'--port', '{child.port}'" in lines[3]
        assert list(child.log) == lines and child.base_url == f"http://127.0.0.1:{child.port}"
        assert child.ended is None and psutil.pid_exists(child.pid)
        assert (await host.run(activity_of, child.pid)).resident > 0
        child.signal(signal.SIGINT)
        assert await child.wait() == Ended(-signal.SIGINT) == child.ended
        assert "KeyboardInterrupt" in child.log[-1], "the last lines come before the end"
        assert not host.children

    run(story)


@pytest.mark.parametrize("hurried", [False, True])
def test_a_grace_passes_on_the_node_and_can_be_cut_short(hurried: bool) -> None:
    async def story() -> None:
        host, link = await a_node()
        child = await host.spawn(order("a", DEAF), lambda _: None)
        await until(lambda: bool(child.log))
        hurry, began = asyncio.Event(), time.monotonic()
        ending = asyncio.create_task(child.terminate(30 if hurried else 0.2, hurry))
        await asyncio.sleep(0.1)
        hurry.set() if hurried else None
        assert await ending == Ended(-signal.SIGKILL) and time.monotonic() - began < 10
        assert link.asked.count("terminate") == 1

    run(story)


@pytest.mark.parametrize("late", [(0.0, 0.3), (0.3, 0.0)])
def test_a_start_that_is_cancelled_leaves_no_child(late: tuple[float, float]) -> None:
    """Whether the node has it already or gets it later."""

    async def story() -> None:
        host, link = await a_node()
        first = await host.spawn(order("a"), lambda _: None)
        assert (await host.spawn(order("a"), lambda _: None)).pid == first.pid, "the same order"
        before = set(psutil.Process().children())
        link.late = late
        spawning = asyncio.create_task(host.spawn(order("b"), lambda _: None))
        await asyncio.sleep(0.1)
        others = [child for child in psutil.Process().children() if child not in before]
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        with pytest.raises(HostLostError, match="called off"):
            await host.spawn(order("b"), lambda _: None)
        await until(lambda: not any(child.is_running() and child.status() != "zombie" for child in others))
        assert len(others) == (not late[0])
        await first.terminate(0, asyncio.Event())

    run(story)


def test_a_lost_node_ends_its_children_and_takes_no_calls() -> None:
    """Also calls that are under way, which would never be answered."""

    async def story() -> None:
        host, link = await a_node()
        child = await host.spawn(order("a"), lambda _: None)
        link.cut = True
        under_way = asyncio.create_task(host.run(activity_of, child.pid))
        await asyncio.sleep(0.05)
        host.lose("3 beats missed")
        assert await child.wait() == Ended(lost="box1: 3 beats missed") == await child.terminate(9, asyncio.Event())
        for call in (under_way, host.run(activity_of, child.pid), host.spawn(order("b"), lambda _: None)):
            with pytest.raises(HostLostError, match="box1: 3 beats missed"):
                await call
        assert not host.children
        os.killpg(child.pid, signal.SIGKILL)

    run(story)


def test_without_beats_the_lease_kills_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the loop of the agent hangs: the test's own loop is blocked meanwhile."""

    async def story() -> None:
        host, _ = await a_node(lease=1.0)
        child = await host.spawn(order("a"), lambda _: None)
        _block(0.5)
        await host.call("beat", {})
        _block(0.7)
        assert psutil.Process(child.pid).status() != "zombie", "a beat renews the lease"
        _block(1.0)
        assert psutil.Process(child.pid).status() == "zombie"
        assert await child.wait() == Ended(-signal.SIGKILL)

    run(story)


def test_work_on_files_runs_on_the_node(tmp_path: Path) -> None:
    """What it says of files holds there, so nothing here is compared with them."""

    async def story() -> None:
        host, _ = await a_node()
        model = header_only(tmp_path / "m.gguf", "qwen3")
        size = model.stat().st_size
        loaded = await host.run(LoadedFiles.of, (model,))
        plan = LaunchPlan("m", (str(model), "--port", "1"), {}, (model,), (), chain=(Step("ngram-mod"),))
        before = await host.run(fingerprint, plan)
        assert before == fingerprint(plan)
        model.unlink()
        assert loaded.header is not None and loaded.header.architecture == "qwen3"
        assert (loaded.size, loaded.changed) == (size, "") and await host.run(fingerprint, plan) != before

    run(story)


def test_a_node_plans_by_its_own_files_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with its own llama-server; an error is the one that it would be here."""
    monkeypatch.setenv("TANDEM_LLAMA_SERVER", str(fake_llama_server(tmp_path)))
    monkeypatch.setenv("TANDEM_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    header_only(tmp_path / "models" / "org" / "repo" / "m-Q4_K_M.gguf")
    entry = LocalEntry(target=Files(repo="org/repo", quantization="Q4_K_M"), ctx_size=512, nodes=("box*",))

    async def story() -> None:
        host, _ = await a_node()
        plan = await host.plan(PlanRequest.of("m", "m", entry))
        assert plan.argv[0] == str(tmp_path / "llama-server") and "512" in plan.argv
        assert plan.files == (tmp_path / "models" / "org" / "repo" / "m-Q4_K_M.gguf",)
        assert "OMP_NUM_THREADS" not in plan.env
        plan.files[0].unlink()
        with pytest.raises(FilesMissingError, match="org/repo") as missing:
            await host.plan(PlanRequest.of("m", "m", entry))
        assert missing.value.repo is True

    run(story)


def test_ports_of_a_node_end_and_unknown_work_is_refused() -> None:
    async def story() -> None:
        host, _ = await a_node()
        children = []
        with pytest.raises(NoPortError, match=r"No port is free from \d+ to \d+"):
            for number in range(6):
                children.append(await host.spawn(order(str(number)), lambda _: None))
        assert len(children) <= 5
        for child in children:
            child.signal(signal.SIGKILL)
            await child.wait()
        with pytest.raises(NodeFailedError, match="box1 failed: KeyError"):
            await host.call("work", {"function": "os:system", "values": ["true"]})

    run(story)


def test_a_cluster_without_ray_is_told(tmp_path: Path) -> None:
    """At the start, and by `check`; other models are not served by half."""
    cluster = {"address": "127.0.0.1:9", "token": "env:CLUSTER_TOKEN"}
    models = {"a": {"target": "a.gguf", "nodes": ["box*"]}}
    settings = {"cluster": cluster, "models": models, "port": free_port(), "state_dir": str(tmp_path / "state")}
    (tmp_path / "tandem.yaml").write_text(json.dumps(settings))
    env = os.environ | {"CLUSTER_TOKEN": "t"}
    for word in ("serve", "check"):
        command = [sys.executable, "-P", "-c", _WITHOUT_RAY, word]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1 and "pip install 'llama-tandem[ray]'" in said and "Traceback" not in said, said


_WITHOUT_RAY = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "ray" else found(name, *more)
from app.cli import main
sys.argv[0] = "llama-tandem"
main()
"""


def test_a_gateway_without_a_cluster_imports_none_of_it() -> None:
    script = "import sys, app.main, app.cli.check; print([name for name in sys.modules if 'cluster' in name])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "['app.config.cluster']"
