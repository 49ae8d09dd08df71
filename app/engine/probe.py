"""Runs a build's `--help` once and caches the page, by the binary's path, size and mtime."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.engine.dialect import Dialect
from app.engine.environment import child_environment
from app.engine.locate import EngineBinary
from app.engine.parent_death import tied_to_parent
from app.errors import ProbeError

PATIENCE_S = 20


class RunningProbes:
    """The processes that threads wait for. After `close` each new one is killed as well: its thread began before."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        self._processes.add(process)
        if self._closed:
            kill_group(process)

    def discard(self, process: subprocess.Popen[bytes]) -> None:
        self._processes.discard(process)

    def close(self) -> None:
        self._closed = True
        for process in tuple(self._processes):
            kill_group(process)


class Prober:
    """Dialects by binary. If the cache on disk is missing or damaged, the binary is run again."""

    def __init__(self, cache_dir: Path) -> None:
        self._folder = cache_dir / "help"
        self._known: dict[str, Dialect] = {}
        self._running = RunningProbes()

    async def dialect(self, engine: EngineBinary) -> Dialect:
        """Like `dialect_now`, without blocking the event loop."""
        return await asyncio.to_thread(self.dialect_now, engine)

    def dialect_now(self, engine: EngineBinary) -> Dialect:
        """Raises ProbeError if the binary prints no usable page."""
        try:
            identity = engine.identity
        except OSError as error:
            raise ProbeError(f"{engine.origin}: cannot be read: {error.strerror}") from None
        if identity not in self._known:
            self._known[identity] = self._cached(identity) or self._probed(engine, identity)
        return self._known[identity]

    def close(self) -> None:
        """Ends a `--help` that another thread is still running; its caller gets ProbeError."""
        self._running.close()

    def _path(self, identity: str) -> Path:
        return self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.txt"

    def _cached(self, identity: str) -> Dialect | None:
        with suppress(OSError, UnicodeDecodeError, ProbeError):
            return Dialect.from_help(self._path(identity).read_text(encoding="utf-8"))
        return None

    def _probed(self, engine: EngineBinary, identity: str) -> Dialect:
        page = help_page(engine, self._running)
        try:
            dialect = Dialect.from_help(page)
        except ProbeError as error:
            raise ProbeError(f"{engine.origin}: {error}") from None
        with suppress(OSError):
            self._remember(identity, page)
        return dialect

    def _remember(self, identity: str, page: str) -> None:
        """Writes the whole file or nothing, since another gateway may read at any moment."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(page)
            Path(name).rename(self._path(identity))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def help_page(engine: EngineBinary, running: RunningProbes) -> str:
    """The output of `--help`. Raises ProbeError. `running` contains the process while it runs."""
    return ask(engine, "--help", running)


def ask(
    engine: EngineBinary,
    flag: str,
    running: RunningProbes | None = None,
    own: Mapping[str, str] | None = None,
) -> str:
    """The output of a flag that only prints, with an entry's `own` environment; `running` as in `help_page`.

    Raises ProbeError.
    """
    with tempfile.TemporaryDirectory() as empty:
        env = child_environment(os.environ, own or {}, Path(empty))
        try:
            done = run_to_its_end([*engine.command, flag], env, running or RunningProbes())
        except subprocess.TimeoutExpired:
            raise ProbeError(f"{engine.origin}: {flag} did not end within {PATIENCE_S} s") from None
        except OSError as error:
            raise ProbeError(f"{engine.origin}: cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise ProbeError(f"{engine.origin}: {flag} failed: {_why(done.returncode, done.stderr)}")
    return done.stdout.decode("utf-8", "replace")


def run_to_its_end(
    command: list[str], env: Mapping[str, str], running: RunningProbes, *, patience: float = PATIENCE_S
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command; kills its process group after `patience` seconds. Raises OSError or TimeoutExpired."""
    process = subprocess.Popen(
        tied_to_parent(command),
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    running.add(process)
    with process:
        try:
            stdout, stderr = process.communicate(timeout=patience)
        except BaseException:
            kill_group(process)
            raise
        finally:
            running.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills the whole group: a wrapper script may wait for a child."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _why(returncode: int, stderr: bytes) -> str:
    if returncode == -signal.SIGILL:
        return "illegal instruction: it was built for another processor"
    if returncode < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"it was ended by {names.get(-returncode, f'signal {-returncode}')}"
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {returncode}"
