"""Watches one start until the engine is ready, exited, hung, or found to be another server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.config.settings import Settings
from app.engine.diagnose import diagnose, last_lines
from app.engine.launch import LaunchPlan
from app.errors import (
    Diagnosis,
    FilesMissingError,
    GgufError,
    HostLostError,
    InsufficientMemoryError,
    LaunchRefusedError,
    NodeFailedError,
    NoNodeError,
    TandemError,
)
from app.supervisor.activity import Activity, activity_of
from app.supervisor.child import Ended
from app.supervisor.endings import NO_NODE, ended_early
from app.supervisor.host import Child, Host
from app.supervisor.ownership import is_own, key_not_handed_on

# Half an hour, or more for large files on a slow disk or network.
_LEAST_START_S = 1800
_SLOWEST_BYTES_PER_SECOND = 20e6
# Seconds between two looks at a starting child.
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class StartLimits:
    """Seconds: a start without progress, the whole start (0: by the size of the files), SIGTERM to SIGKILL.

    `hang` is the time after which an engine that does nothing for its requests is ended; 0: never.
    """

    stall: float = 60
    start: float = 0
    grace: float = 5
    hang: float = 120

    @classmethod
    def of(cls, settings: Settings) -> StartLimits:
        """The limits of the settings."""
        return cls(
            stall=settings.start_stall_timeout,
            start=settings.start_timeout,
            grace=settings.stop_grace,
            hang=settings.hang_timeout,
        )

    def whole(self, size: int) -> float:
        """The limit of the whole start in seconds, for model files of `size` bytes."""
        return self.start or max(_LEAST_START_S, size / _SLOWEST_BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """The address of a READY engine, and its key."""

    base_url: str
    key: str


async def until_ready(
    host: Host,
    child: Child,
    address: EngineAddress,
    limits: StartLimits,
    size: int,
    *,
    argv: Sequence[str],
    saw: Callable[[Activity], None],
) -> Diagnosis | None:
    """None once the child is ready and verified as our own, else the diagnosis. The child may still run then.

    The child runs on `host`. `size` is the size of the model's files in bytes, `argv` the child's command line. `saw`
    gets the child's activity once a second.
    """
    # httpx2 takes 80 ms to import, so it is imported while the engine loads
    from app.supervisor.health import ForeignServerError, wait_until_healthy

    healthy = asyncio.ensure_future(wait_until_healthy(address.base_url, address.key))
    gone = asyncio.ensure_future(child.wait())
    hung = asyncio.ensure_future(_hung(host, child, limits.stall, limits.whole(size), saw))
    watched: set[asyncio.Future[None] | asyncio.Future[Ended] | asyncio.Future[str]] = {healthy, gone, hung}
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            return ended_early(gone.result(), child.log)
        if healthy.done():
            healthy.result()
            return None
        return diagnose(None, tuple(child.log), hung=hung.result())
    except ForeignServerError as error:
        if await host.run(is_own, child.pid, _port(address), argv, error.props) and not gone.done():
            return key_not_handed_on(argv[0], last_lines(child.log))
        cause = f"Another server answers at {address.base_url}: {error}."
        return Diagnosis("port_taken", cause, "The next port is tried.", False, last_lines(child.log))
    finally:
        for task in watched:
            task.cancel()
        with suppress(asyncio.CancelledError, ForeignServerError):
            await healthy  # close its connection first
        with suppress(asyncio.CancelledError, HostLostError):
            await hung


def _port(address: EngineAddress) -> int:
    return urlsplit(address.base_url).port or 0


async def _hung(host: Host, child: Child, stall: float, whole: float, saw: Callable[[Activity], None]) -> str:
    """Returns the limit that was passed: `stall` without progress, or `whole` in all; both in seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + whole
    active = looked = loop.time()
    before = await host.run(activity_of, child.pid)
    while True:
        stalled = max(active, child.last_output) + stall
        if loop.time() >= end:
            return f"not ready after {whole:g} s"
        if loop.time() >= stalled:
            return f"no progress for {stall:g} s (no log output, no bytes read, no memory filled, no computing)"
        await asyncio.sleep(min(end - loop.time(), stalled - loop.time(), _LOOK_EVERY_S, stall / 4))
        now = await host.run(activity_of, child.pid)
        if now.moved_since(before, loop.time() - looked):
            active = loop.time()
        saw(now)
        looked, before = loop.time(), now


def fingerprint(plan: LaunchPlan) -> str:
    """Equal for plans that must end the same way: command but for the port, environment, files by size and mtime."""
    stats = []
    for path in (Path(plan.argv[0]), *plan.engine, *plan.files, *plan.named, *plan.left_out):
        with suppress(OSError):
            stat = path.stat()
            stats.append((str(path), stat.st_size, stat.st_mtime_ns))
    parts = (plan.with_port(0).argv, sorted(plan.env.items()), stats)
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


_REFUSALS: dict[type[TandemError], str] = {
    GgufError: "Check the file and its permissions, or download it again.",
    LaunchRefusedError: "Correct the model's entry, or use another build.",
}
_NO_ENGINE = "Set llama_server to another llama-server."


def refusal(error: TandemError) -> Diagnosis:
    """The diagnosis of a start that was not tried, because it is certain to fail."""
    cause = f"{str(error).rstrip('.')}."
    if isinstance(error, FilesMissingError):
        return Diagnosis("missing_file", cause, error.advice, permanent=True)
    if isinstance(error, InsufficientMemoryError):  # other programs may free memory
        advice = "Change the entry as suggested, or end other programs that hold memory."
        return Diagnosis("insufficient_memory", cause, advice, permanent=False)
    if isinstance(error, NoNodeError):
        return Diagnosis(NO_NODE, cause, "Start the node, or name others in the entry's nodes.", permanent=False)
    if isinstance(error, NodeFailedError):
        return Diagnosis("node_failed", cause, "See the gateway's log and the node's.", permanent=False)
    code = error.code if isinstance(error, GgufError | LaunchRefusedError) else "refused"
    return Diagnosis(code, cause, _REFUSALS.get(type(error), _NO_ENGINE), permanent=True)
