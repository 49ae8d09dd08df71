"""The memory of several machines: a book for each. Places have the machine's name before their own: `box1/CUDA0`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from app.errors import TandemError
from app.scheduler.memory_book import MemoryBook
from app.scheduler.node_places import NodePlaces, places_on
from app.supervisor.host import LOCAL
from app.supervisor.machine_memory import MachineMemory


class MemoryBooks:
    """`own` is this machine's book. An engine's figures are those of the machine that it runs on, or failed on."""

    def __init__(self, own: MemoryBook, places: NodePlaces, make: Callable[[str, MachineMemory], MemoryBook]) -> None:
        """`make` makes the book of a node."""
        self._books = {LOCAL: own}
        self._places = places
        self._make = make

    def joined(self, node: str, machine: MachineMemory) -> None:
        self._books[node] = self._make(node, machine)

    def lost(self, node: str) -> None:
        self._books.pop(node, None)

    @property
    def nodes(self) -> list[str]:
        return [name for name in self._books if name != LOCAL]

    def of(self, machine: str) -> MemoryBook | None:
        """The book of a machine; None for a node that is away."""
        return self._books.get(machine)

    def _of_engine(self, alias: str) -> MemoryBook | None:
        return self._books.get(self._places.node_of(alias))

    # -- as the scheduler sees it --------------------------------------------------------------------------------

    def needs(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes; empty if unknown."""
        book = self._of_engine(alias)
        return places_on(self._places.node_of(alias), book.needs(alias)) if book else {}

    def mapped(self, alias: str) -> int:
        book = self._of_engine(alias)
        return book.mapped(alias) if book else 0

    def budgets(self) -> dict[str, int]:
        """Place -> bytes, for the machines whose memory is known."""
        budgets: dict[str, int] = {}
        for node, book in self._books.items():
            budgets |= places_on(node, book.budgets())
        return budgets

    def figures(self, alias: str) -> dict[str, Any]:
        """The fields of a refusal: the needs of `alias` on each machine, and the budgets; sizes in bytes."""
        needs: dict[str, int] = {}
        for node, book in self._books.items():
            needs |= places_on(node, book.needs(alias))
        return {"footprint": needs, "budgets": self.budgets()}

    def warnings(self) -> list[str]:
        """A name in `memory` may be that of a node's device, so there are none with nodes."""
        return [] if self.nodes else self._books[LOCAL].warnings()

    def renewed(self) -> set[str]:
        """The aliases whose needs have changed since the last call."""
        return set().union(*(book.renewed() for book in self._books.values()))

    # -- as others see it ----------------------------------------------------------------------------------------

    def expected(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes that the last start of `alias` was planned with, by the machine's own names."""
        book = self._of_engine(alias)
        return book.expected(alias) if book else {}

    def measured(self, alias: str) -> Mapping[str, int]:
        """Place -> bytes of a running engine; empty before its measurement."""
        book = self._of_engine(alias)
        return book.measured(alias) if book else {}

    async def look(self) -> None:
        """Looks at all machines again. One that is lost meanwhile keeps its last figures until it is removed."""
        looks = await asyncio.gather(*(book.look() for book in self._books.values()), return_exceptions=True)
        for look in looks:
            if isinstance(look, BaseException) and not isinstance(look, TandemError):
                raise look

    def configure(self, setting: Literal["auto"] | Mapping[str, int], margin: float) -> None:
        for book in self._books.values():
            book.configure(setting, margin)

    def fields(self, up: Iterable[str]) -> list[dict[str, Any]]:
        """The rows of `/admin/memory`, those of this machine first."""
        aliases = list(up)
        rows = []
        for node, book in sorted(self._books.items(), key=lambda pair: (pair[0] != LOCAL, pair[0])):
            there = [alias for alias in aliases if self._places.node_of(alias) == node]
            rows += [{**row, "node": node} for row in book.fields(there)]
        return rows
