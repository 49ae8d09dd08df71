"""A gateway as a user runs it: a process of its own, a tandem.yaml, real sockets. And who is left after it."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil

from app.supervisor.orphans import MARKER, may_be_marked
from tests.support import forked
from tests.support.ports import free_port

SUPPORT = Path(__file__).parent


# Each gateway asks its llama-server for these two: a shell answers them in a twentieth of Python's time
_FAKE = """#!/bin/sh
case " $* " in
*" --help "*) exec cat '{support}/fake_engine/help.txt' ;;
*" --list-devices "*)
    [ -z "$GGML_FAKE_GPU_MIB" ] || gpu="CUDA0: A fake GPU ($GGML_FAKE_GPU_MIB MiB, $GGML_FAKE_GPU_MIB MiB free)"
    printf 'Available devices:\\n  %s\\n' "${{gpu:-(none)}}"
    ;;
*) exec '{python}' -SE -c '{code}' "$0" "$@" ;;
esac
"""


def fake_llama_server(folder: Path) -> Path:
    """The fake as an executable that this very Python runs: one process, whatever `python3` on PATH may be."""
    path = folder / "llama-server"
    code = f'import sys; del sys.argv[0]; sys.path[0] = "{SUPPORT}"; from fake_engine.main import main; main()'
    path.write_text(_FAKE.format(python=sys.executable, support=SUPPORT, code=code))
    path.chmod(0o755)
    return path


def header_only(path: Path, architecture: str = "llama") -> Path:
    """A GGUF file of one key and no tensor: enough for everything but a real engine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key, value = b"general.architecture", architecture.encode()
    path.write_bytes(
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + struct.pack(f"<Q{len(key)}sI", len(key), key, 8)
        + struct.pack(f"<Q{len(value)}s", len(value), value)
    )
    return path


def engines_of(pid: int) -> list[int]:
    """Pids of the processes that carry the marker of the gateway `pid`."""
    found = []
    for marked in filter(may_be_marked, psutil.pids()):
        try:
            process = psutil.Process(marked)
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARKER, "").startswith(f"{pid}:"):
                found.append(process.pid)
        except psutil.Error:
            continue
    # One may have ended while we looked at the others.
    return [pid for pid in found if psutil.pid_exists(pid)]


# On a machine with other work; a test asserts an order of events, or counts, and no time below this.
PATIENCE_S = 30.0


# Of a failed test's gateway
_LINES_SHOWN = 40


def eventually(true: Callable[[], Any], within: float = PATIENCE_S) -> Any:
    """Polls until `true()` is; fails the test after `within` seconds."""
    end = time.monotonic() + within
    while not (value := true()):
        assert time.monotonic() < end, f"not true within {within} s"
        time.sleep(0.02)
    return value


class Gateway:
    """`settings` is what tandem.yaml holds; ports, folders and log format are filled in."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "port": 0,
            "engine_port": free_port(),
            "state_dir": str(folder / "state"),
            "cache_dir": str(folder / "cache"),
            "llama_server": str(fake_llama_server(folder)),
            "stop_grace": 2,
            # What a test says of places does not hang on the memory of the machine that it runs on
            "max_loaded": 1,
            "log_format": "json",
        }
        self.settings = defaults | settings
        self.folder = folder
        self.config = folder / "tandem.yaml"
        self.config.write_text(json.dumps(self.settings))  # JSON is YAML
        self.output: list[str] = []
        self.log: list[dict[str, Any]] = []
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "LLAMA_"))}
        self._env = environment | (env or {})
        self.process = forked.start(["serve", "--config", str(self.config)], env=self._env, folder=folder)
        self._readers = [threading.Thread(target=self._read_output), threading.Thread(target=self._read_log)]
        for reader in self._readers:
            reader.start()
        self.url = self._address()
        # Plain HTTP: reading the certificates of all authorities takes 20 ms
        self.client = httpx2.Client(base_url=self.url, timeout=60, trust_env=False, verify=False)

    def _read_output(self) -> None:
        self.output.extend(iter(self.process.stdout.readline, ""))

    def _read_log(self) -> None:
        for line in iter(self.process.stderr.readline, ""):
            self.log.append(json.loads(line) if line.startswith("{") else {"event": line})

    def _address(self) -> str:
        def said() -> str | None:
            found = re.search(r"http://127\.0\.0\.1:\d+", "".join(self.output))
            assert found or self.process.poll() is None, self.log
            return found[0] if found else None

        url: str = eventually(said)
        return url

    @property
    def admin(self) -> dict[str, str]:
        """The headers of who runs this gateway."""
        secret = (Path(self.settings["state_dir"]) / "admin.key").read_text().strip()
        return {"authorization": f"Bearer {secret}"}

    # -- changing ----------------------------------------------------------------------------------------------

    def rewrite(self, **settings: Any) -> None:
        """Writes these into tandem.yaml, None for what is to go from it; nothing is reloaded."""
        self.settings = {name: value for name, value in (self.settings | settings).items() if value is not None}
        self.config.write_text(json.dumps(self.settings))

    def reload(self, **settings: Any) -> dict[str, Any]:
        """What a reload answers, of a tandem.yaml with these."""
        self.rewrite(**settings)
        response = self.client.post("/admin/reload", headers=self.admin)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    # -- asking ------------------------------------------------------------------------------------------------

    def chat(self, model: str | None = "m", **body: Any) -> httpx2.Response:
        """A non-streamed completion."""
        return self.client.post("/v1/chat/completions", json=_chat(model, body))

    def stream(self, model: str | None = "m", **body: Any) -> Any:
        """A streamed one, as a context manager."""
        return self.client.stream("POST", "/v1/chat/completions", json=_chat(model, body) | {"stream": True})

    def state(self, model: str = "m") -> str:
        state: str = self.client.get(f"/v1/models/{model}").json()["state"]
        return state

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, 0 where it is not there yet."""
        for row in self.client.get("/metrics").text.splitlines():
            name, _, value = row.rpartition(" ")
            if name == f"llama_tandem_{line}":
                return float(value)
        return 0.0

    @property
    def engines(self) -> list[int]:
        return engines_of(self.process.pid)

    def engine(self, alias: str) -> tuple[str, str]:
        """Where the engine of an alias listens, and its key; both are on its command line or in its environment."""
        for pid in self.engines:
            process = psutil.Process(pid)
            words = process.cmdline()
            if words[words.index("--alias") + 1] == alias:
                return f"http://127.0.0.1:{words[words.index('--port') + 1]}", process.environ()["LLAMA_API_KEY"]
        raise AssertionError(f"no engine of {alias}")

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if event in str(line.get("event"))]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of our commands with this gateway's settings."""
        return forked.run([*words, "--config", str(self.config)], env=self._env, folder=self.folder)

    # -- ending ------------------------------------------------------------------------------------------------

    def terminate(self, within: float = PATIENCE_S) -> int:
        """SIGTERM and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def close(self) -> None:
        """Ends what is left of the process, whatever state it is in. Pytest shows what it prints if a test failed."""
        print(f"last lines of the gateway {self.process.pid}:", *self.log[-_LINES_SHOWN:], sep="\n")
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self._readers:
            reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()


def _chat(model: str | None, body: dict[str, Any]) -> dict[str, Any]:
    named = {} if model is None else {"model": model}
    return named | {"messages": [{"role": "user", "content": "Hello"}]} | body


def events(response: httpx2.Response) -> Iterator[Any]:
    """Parsed `data:` events of a stream, `"[DONE]"` as it is, comments as strings that begin with a colon."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)
        elif line.startswith(":"):
            yield line
