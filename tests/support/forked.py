"""Processes of `llama-tandem` that need not import it: see fork_server.py. One server for each worker of pytest."""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

SERVER = Path(__file__).with_name("fork_server.py")
_ANSWER_BYTES = 4096
_FORK_LIMIT_S = 60.0


class ForkedProcess:
    """As much of subprocess.Popen as tests use; `stdout` and `stderr` are text."""

    def __init__(self, pid: int, end: Future[int], stdout: TextIO, stderr: TextIO) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._end = end

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return self._end.result() if self._end.done() else None

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired after `timeout` seconds."""
        try:
            return self._end.result(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired("llama-tandem", timeout or 0) from None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen([sys.executable, "-P", str(SERVER), str(number)], pass_fds=[number])
        self._order = threading.Lock()
        self._born: queue.Queue[tuple[int, Future[int]]] = queue.Queue()
        self._reader = threading.Thread(target=self._read_answers, daemon=True)
        self._reader.start()
        atexit.register(self._close)

    def fork(
        self, words: Sequence[str], env: Mapping[str, str], folder: Path, descriptors: Sequence[int]
    ) -> tuple[int, Future[int]]:
        """The pid and, later, the exit code, negative for a signal."""
        order = json.dumps({"words": list(words), "env": dict(env), "cwd": str(folder)}).encode()
        with self._order:
            socket.send_fds(self._socket, [order], list(descriptors))
            return self._born.get(timeout=_FORK_LIMIT_S)

    def _read_answers(self) -> None:
        ends: dict[int, Future[int]] = {}
        while data := self._socket.recv(_ANSWER_BYTES):
            answer = json.loads(data)
            if "ended" in answer:
                ends.pop(answer["ended"]).set_result(answer["returncode"])
            else:
                pid = answer["pid"]
                ends[pid] = Future()
                self._born.put((pid, ends[pid]))

    def _close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()
        self._process.wait()


_server = cache(_Server)


def run(
    words: Sequence[str], *, env: Mapping[str, str], folder: Path, typed: str = "", limit_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """`llama-tandem WORDS` in `folder`, to its end; `typed` is its stdin. Raises subprocess.TimeoutExpired."""
    with TemporaryFile() as stdin, TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        stdin.write(typed.encode())
        stdin.seek(0)
        pid, end = _server().fork(words, env, folder, [file.fileno() for file in (stdin, stdout, stderr)])
        try:
            returncode = end.result(limit_s)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["llama-tandem", *words], limit_s) from None
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(["llama-tandem", *words], returncode, stdout.read(), stderr.read())


def start(words: Sequence[str], *, env: Mapping[str, str], folder: Path) -> ForkedProcess:
    """`llama-tandem WORDS` in `folder`, with nothing to read on stdin."""
    (out, child_out), (err, child_err) = os.pipe(), os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        pid, end = _server().fork(words, env, folder, (nothing, child_out, child_err))
    finally:
        for descriptor in (nothing, child_out, child_err):
            os.close(descriptor)
    return ForkedProcess(pid, end, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"))
