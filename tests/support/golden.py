"""Golden answers: what a server says, and what clients of each API are told, in one file a case.

A case of `tests/data/golden` has `why`, `upstream` (`status` and `body`, `cut` where the connection breaks behind it),
`model` where it is not `m`, and `clients`: path -> what came. `python -m tests.support.golden` writes `clients` anew;
read the difference.
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from tests.support.gateway import Gateway
from tests.support.paths import DATA

FOLDER = DATA / "golden"
SAID = [{"role": "user", "content": "x"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": SAID, "max_tokens": 8},
    "/api/chat": {"messages": SAID},
    "/api/generate": {"prompt": "x"},
}
# What is another at every run.
_TIMES = re.compile(r'"(created_at|completed_at|total_duration|load_duration)":("[^"]*"|\d+)')
_IDS = re.compile(r"\b(resp|msg|rs|fc)_[0-9a-f]{24,}")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_KIND = ("text/event-stream", "application/json")
# What came before a cut is read before it, as from an engine that dies between two tokens.
_PAUSE_S = 0.1


class Scripted:
    """A server that reads a request and answers every one with the same bytes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.script = b""
        self._pause = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, status: int, body: str, *, cut: bool, kind: str = "") -> None:
        """`cut` breaks the connection where a chunk should follow; `kind` is a stream's unless it is a refusal."""
        data = body.encode()
        head = b"HTTP/1.1 %d Status\r\nServer: llama.cpp\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n"
        head += b"Connection: close\r\n\r\n"
        chunk = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        self._pause = _PAUSE_S if cut else 0
        self.script = head % (status, (kind or _KIND[status != 200]).encode()) + chunk + (b"" if cut else b"0\r\n\r\n")

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as file, suppress(OSError):
                length = 0
                while line := file.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                file.read(length)
                sock.sendall(self.script)
                time.sleep(self._pause)

    def close(self) -> None:
        self._listener.close()


class Stage:
    """A gateway before a scripted server; `play` gives what clients of every API see of a case."""

    def __init__(self, folder: Path, **entry: Any) -> None:
        self.server = Scripted()
        server = {"url": self.server.url, "api_key": "theirs"} | entry
        # The second speaks each API itself
        models = {"m": server, "own": server | {"apis": ["responses", "messages"]}}
        self.gateway = Gateway(folder, models=models)

    def play(self, case: dict[str, Any]) -> dict[str, Any]:
        """A stream is asked for streamed, a refusal both ways, and must be the same."""
        upstream = case["upstream"]
        self.server.answer(upstream["status"], upstream["body"], cut=upstream.get("cut", False))
        found = {}
        for path in case.get("paths", REQUESTS):
            model = case.get("model", "m")
            seen = self._ask(path, model, stream=True)
            if upstream["status"] != 200:
                assert seen == self._ask(path, model, stream=False), path
            found[path] = seen
        return found

    def _ask(self, path: str, model: str, *, stream: bool) -> dict[str, Any]:
        text, broken = "", False
        body = REQUESTS[path] | {"model": model, "stream": stream}
        with self.gateway.client.stream("POST", path, json=body) as answer:
            try:
                for piece in answer.iter_text():
                    text += piece
            except httpx2.RemoteProtocolError:
                broken = True
        text = _IDS.sub(r"\1_ID", _PORT.sub("127.0.0.1:PORT", text))
        if answer.headers["content-type"].startswith("application/json"):
            return {"status": answer.status_code, "body": json.loads(text)}
        lines = _TIMES.sub(r'"\1":0', text).splitlines()
        return {"status": answer.status_code, "lines": lines, "broken": broken}

    def close(self) -> None:
        self.gateway.close()
        self.server.close()


def cases() -> dict[str, dict[str, Any]]:
    """By name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def rewrite() -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            for name, case in cases().items():
                text = json.dumps(case | {"clients": stage.play(case)}, indent=1, ensure_ascii=False)
                (FOLDER / f"{name}.json").write_text(text + "\n")
        finally:
            stage.close()


if __name__ == "__main__":
    rewrite()
