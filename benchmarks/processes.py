"""What is measured: the upstream, the gateway and nginx, each started on a port of its own and ended afterwards."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.client import get

ROOT = Path(__file__).parents[1]
_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 15.0

# One worker and keep-alive to the upstream, as the gateway has them; buffering off, as streams need it.
_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream engine {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and all of its processes."""

    port: int
    process: subprocess.Popen[bytes]

    def _family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def pids(self) -> list[int]:
        """All its processes."""
        return [process.pid for process in self._family()]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far."""
        times = [process.cpu_times() for process in self._family()]
        return sum(t.user + t.system for t in times)

    def rss_mib(self) -> float:
        """Resident memory of all its processes."""
        return sum(process.memory_info().rss for process in self._family()) / 2**20


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int, **popen: Any) -> Iterator[Server]:
    """Starts `command` and ends it with SIGTERM; says nothing of readiness."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **popen
    )
    try:
        yield Server(port, process)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(true: Callable[[], Any], server: Server, every: float = 0.005) -> None:
    """Polls; raises RuntimeError where the process ends or takes too long."""
    end = time.monotonic() + _START_LIMIT_S
    while not true():
        if server.process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{server.process.args!r} did not come up")
        time.sleep(every)


@contextmanager
def upstream() -> Iterator[int]:
    """The scripted upstream's port."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        with suppress(AttributeError):
            process.stdout.close()  # type: ignore[union-attr]


def gateway_command(folder: Path, port: int, **settings: Any) -> list[str]:
    """Writes a tandem.yaml of these settings and returns what serves it."""
    defaults = {"port": port, "state_dir": str(folder / "state"), "cache_dir": str(folder / "cache")}
    config = folder / "tandem.yaml"
    config.write_text(json.dumps(defaults | settings))
    return [sys.executable, "-P", "-m", "llama_tandem", "serve", "--config", str(config)]


def gateway_environment(root: Path = ROOT) -> dict[str, str]:
    """Ours, less what would configure the gateway, or keep Python from caching its bytecode as pip does.

    `root` is the checkout that is run.
    """
    unwanted = ("TANDEM_", "LLAMA_", "PYTHONDONTWRITEBYTECODE")
    own = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return own | {"PYTHONPATH": str(root)}


@contextmanager
def gateway(folder: Path, upstream_port: int) -> Iterator[Server]:
    """The gateway in attach mode, ready."""
    port = free_port()
    models = {"bench": {"url": f"http://127.0.0.1:{upstream_port}"}}
    command = gateway_command(folder, port, models=models)
    with running(command, port, env=gateway_environment()) as server:
        until(lambda: get(port, "/health") == 200, server)
        yield server


@contextmanager
def nginx(folder: Path, upstream_port: int) -> Iterator[Server | None]:
    """nginx in front of the same upstream; None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, upstream=upstream_port))
    with running([program, "-c", str(config), "-p", str(folder), "-e", "stderr"], port) as server:
        until(lambda: get(port, "/health") == 200, server)
        yield server


@contextmanager
def llama_swap(program: str, folder: Path, upstream_port: int) -> Iterator[Server]:
    """llama-swap in front of the same upstream, as if it had started it."""
    port = free_port()
    config = folder / "llama-swap.json"
    # JSON is YAML. The command only has to run
    model = {"cmd": "sleep 1000000", "proxy": f"http://127.0.0.1:{upstream_port}", "checkEndpoint": "/health"}
    config.write_text(json.dumps({"healthCheckTimeout": 15, "models": {"bench": model}}))
    command = [program, "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    with running(command, port) as server:
        until(lambda: get(port, "/v1/models") == 200, server)
        yield server


@contextmanager
def other_proxy(template: str, upstream_port: int) -> Iterator[Server]:
    """Any proxy by its command line, in which `{port}` and `{upstream}` are filled in."""
    port = free_port()
    command = [word.format(port=port, upstream=upstream_port) for word in shlex.split(template)]
    with running(command, port) as server:
        until(lambda: get(port, "/health") == 200, server)
        yield server
