"""A machine that engines run on. The rest of the gateway knows engines and their files only through this interface.

A host spawns children, and runs blocking work beside them, such as reading the stats of their files. `LocalHost` is
this machine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from signal import Signals
from typing import Any, ParamSpec, Protocol, TypeVar

from app.engine.launch import LaunchPlan, listening_at
from app.supervisor.child import Ended, LocalChild
from app.supervisor.orphans import MARKER, marker
from app.supervisor.ports import Ports

P = ParamSpec("P")
T = TypeVar("T")

LOOPBACK = "127.0.0.1"
# The name of this machine
LOCAL = "local"


class RunsWork(Protocol):
    """Runs a blocking function in a thread, on the machine that its files are on."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]: ...


@dataclass(frozen=True, slots=True)
class SpawnOrder:
    """What to start. The host takes a port greater than `above`, and puts it and its own address into `argv`.

    The gateway chooses the `id`. The same order given twice starts one child.
    """

    id: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    above: int = 0


class Child(Protocol):
    """A child process on a host. `last_output` is on the loop's clock; `ended` is None while it runs."""

    log: deque[str]
    last_output: float

    @property
    def pid(self) -> int: ...

    @property
    def port(self) -> int: ...

    @property
    def base_url(self) -> str: ...

    @property
    def ended(self) -> Ended | None: ...

    async def wait(self) -> Ended:
        """Its end, once the child is reaped and its last lines are in `log`, or once its host is lost."""
        ...

    def signal(self, number: Signals) -> None:
        """Signals the whole process group; ignores a child that is gone."""
        ...

    async def terminate(self, grace: float, hurry: asyncio.Event) -> Ended:
        """SIGTERM, grace in seconds (cut short by `hurry`), SIGTERM again, SIGKILL."""
        ...


class Host(Protocol):
    """A machine that engines run on."""

    name: str

    async def spawn(self, order: SpawnOrder, on_line: Callable[[str], None]) -> Child:
        """Starts a child, of which `on_line` gets the output. A cancelled caller leaves none behind.

        Raises OSError if the program cannot be executed, NoPortError without a free port, and HostLostError.
        """
        ...

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Runs blocking work on the host's machine, in a thread. Raises HostLostError, and the errors of the work."""
        ...


@dataclass(frozen=True, slots=True)
class PlacedPlan:
    """A launch plan, and the host whose files and build it was made from."""

    host: Host
    plan: LaunchPlan


class LocalHost:
    """This machine. Engines listen at `address`, on ports from `first_port` to `last_port`."""

    def __init__(self, first_port: int, last_port: int = 65535, *, name: str = LOCAL, address: str = LOOPBACK) -> None:
        self.name = name
        self._address = address
        self._ports = Ports(first_port, address, last_port)
        self._children: dict[str, LocalChild] = {}

    async def spawn(self, order: SpawnOrder, on_line: Callable[[str], None]) -> LocalChild:
        """Never awaits, so a cancelled caller cannot lose a child. Call it on the main thread: see `child`."""
        if (child := self._children.get(order.id)) is not None:
            return child
        port = self._ports.take(above=order.above)
        argv = listening_at(order.argv, port=port, address=self._address)
        try:
            child = LocalChild.spawn(argv, {**order.env, MARKER: marker()}, on_line, at=(self._address, port))
        except OSError:
            self._ports.release(port)
            raise
        self._children[order.id] = child
        child.when_reaped(lambda: self._reaped(order.id, port))
        return child

    def _reaped(self, id: str, port: int) -> None:
        del self._children[id]
        self._ports.release(port)

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(work, *args, **kwargs)
