"""The nodes of a cluster: plans engines on them, and passes on which have joined and which are lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.cluster.membership import Membership
from app.cluster.node_memory import RemoteMemory
from app.cluster.node_plans import NodePlans
from app.cluster.remote import RemoteHost
from app.config.cluster import ClusterSettings
from app.errors import TandemError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.records.ledger import Ledger
from app.scheduler.host_plans import HostPlans
from app.scheduler.loop import Scheduler
from app.scheduler.memory_books import MemoryBooks
from app.scheduler.node_places import NodePlaces
from app.scheduler.snapshot import HostView
from app.supervisor.conversation_files import ConversationFiles
from app.supervisor.conversations import Conversations
from app.supervisor.host import LOCAL, PlacedPlan


class ClusterNodes:
    """`here` plans on this machine, `cut` ends connections to URLs, and `learn` runs work in the background.

    Requests get machines while `opened` is true. Raises RayNotInstalledError.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        scheduler: Scheduler,
        places: NodePlaces,
        books: MemoryBooks,
        catalog: Catalog,
        conversations: Conversations,
        conversation_files: ConversationFiles,
        ledger: Ledger,
        here: Callable[[ModelRef], Awaitable[PlacedPlan]],
        cut: Callable[[Collection[str]], None],
        learn: Callable[[Coroutine[Any, Any, None]], None],
        opened: Callable[[], bool],
    ) -> None:
        self._scheduler = scheduler
        self._places = places
        self._books = books
        self._catalog = catalog
        self._conversations = conversations
        self._conversation_files = conversation_files
        self._learn = learn
        self._opened = opened
        self._membership = Membership(settings, self._changed, lambda host: cut(host.lost_urls))
        self._node_plans = NodePlans(self._membership, ledger)
        self._host_plans = HostPlans(here, self._node_plans, places, books)
        self._known: dict[str, RemoteHost] = {}
        places.be_there([HostView(LOCAL)])

    def open(self) -> None:
        """Joins the cluster."""
        self._membership.open()

    async def close(self) -> None:
        """Leaves the cluster, and with it ends every agent and its engines."""
        await self._membership.close()

    def fields(self) -> dict[str, Any]:
        """The nodes as JSON."""
        return self._membership.fields()

    async def plan(self, ref: ModelRef) -> PlacedPlan:
        """The plan on the machine that the scheduler has chosen. Raises the plan's errors."""
        return await self._host_plans.plan(ref)

    async def measurement_key(self, ref: ModelRef, node: str) -> str:
        """The key of the measurements of `ref` on a node. Raises the errors of `Planner.key`, and HostLostError."""
        return await self._node_plans.key(ref, node)

    def _changed(self) -> None:
        """Requests that wait for a machine may get one that has joined."""
        hosts = self._membership.hosts
        for name in self._books.nodes:
            if name not in hosts or self._known.get(name) is not hosts[name]:
                self._books.lost(name)
                self._conversations.lost(name)
        for name, host in hosts.items():
            if self._known.get(name) is not host:
                self._books.joined(name, RemoteMemory(host))
                files = replace(self._conversation_files, state_dir=Path(host.facts.state_dir))
                self._conversations.joined(host, files)
        joined = hosts.keys() - self._known.keys()
        self._known = dict(hosts)
        views = (HostView(name, live=not host.suspect) for name, host in hosts.items())
        self._places.be_there([HostView(LOCAL), *views])
        if self._opened() and joined:
            self._learn(self._ask_again())
        self._pump()

    async def _ask_again(self) -> None:
        """Asks machines that have joined for models with waiting requests."""
        for alias, waiting in list(self._scheduler.waiting.items()):
            if waiting and not self._places.chosen(alias):
                with suppress(TandemError):
                    await self._host_plans.ask(self._catalog.resolve(alias))
        self._pump()

    def _pump(self) -> None:
        if self._opened():
            self._scheduler.pump()
