"""A process that edits large bodies, since an edit of many megabytes would stop every stream meanwhile.

`BodyWorker` is its side in the gateway. `python -m` this module is the process: it reads jobs from its standard input
and ends with it. A job is a pure function of a body and more arguments. It returns the new body and anything else.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, TypeVar

from app.errors import BodyEditError

Outcome = TypeVar("Outcome")
# Seconds without a job, after which the process ends
IDLE_S = 60.0
_LENGTH = struct.Struct(">Q")


class BodyWorker:
    """Runs one job at a time. The process starts with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def run(self, job: Callable[..., tuple[bytes, Outcome]], body: bytes, *more: Any) -> tuple[bytes, Outcome]:
        """Returns what the job returns, or raises what it raises. Raises BodyEditError if the process dies.

        A job whose caller is cancelled goes on to its end, since its answer must not be taken for the next one's.
        """
        running = asyncio.ensure_future(self._run(pickle.dumps((job, more)), body))
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        edited, failed, outcome = await asyncio.shield(running)
        if failed:
            raise outcome
        return edited, outcome

    async def _run(self, job: bytes, body: bytes) -> tuple[bytes, bool, Any]:
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            try:
                answer = await asyncio.to_thread(self._exchange, job, body)
            except EOFError:
                self._process = None
                raise BodyEditError("The body could not be edited: the process that edits large bodies died.") from None
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)
            return answer

    def close(self) -> None:
        """Ends the process."""
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            if not self._turn.locked():  # Else the thread of the job reaps it
                _reap(process)

    def _exchange(self, job: bytes, body: bytes) -> tuple[bytes, bool, Any]:
        process = self._process
        if process is None:
            process = self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", __name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the gateway
            )
        assert process.stdin is not None and process.stdout is not None
        try:
            _write(process.stdin, job, body)
            outcome, edited = _read(process.stdout)
        except (OSError, EOFError, ValueError):
            _reap(process)
            raise EOFError from None
        failed, value = pickle.loads(outcome)
        return edited, failed, value


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # What was not written yet
                stream.close()


def _write(stream: IO[bytes], head: bytes, body: bytes) -> None:
    stream.write(_LENGTH.pack(len(head)) + head + _LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Raises EOFError at the end of the stream."""
    head = _exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0])
    return head, _exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0])


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _serve() -> None:
    while True:
        try:
            job, body = _read(sys.stdin.buffer)
        except EOFError:
            return
        edited, outcome = b"", b""
        try:
            function, more = pickle.loads(job)
            edited, value = function(body, *more)
            outcome = pickle.dumps((False, value))
        except Exception as error:
            edited, outcome = b"", pickle.dumps((True, error))
        _write(sys.stdout.buffer, outcome, edited)


if __name__ == "__main__":
    _serve()
