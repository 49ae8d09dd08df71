"""Plans launches on a node: the gateway's entries, with the node's own files, build and folders.

The node's settings come from its environment (`TANDEM_MODELS_DIR`, `TANDEM_LLAMA_SERVER`, `TANDEM_STATE_DIR`,
`TANDEM_CACHE_DIR`), which `llama-tandem node start` sets.
"""

from __future__ import annotations

import base64
import pickle
from dataclasses import dataclass, field
from typing import Any

from app.cluster.node_memory import NodeMemory
from app.config.model_entry import LocalEntry
from app.config.settings import settings_of_environment
from app.config.speculation import Chain
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.planner import Planner
from app.records.database import Database
from app.records.footprints import Footprints
from app.records.ledger import Ledger
from app.speculation.mode_records import MeasuredModes


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """An entry to plan. Its text is the gateway's, which may start any program here anyway; nothing comes back so.

    `measured` are the gateway's records of it on this node, which `auto` goes by.
    """

    alias: str
    engine_key: str
    pickled_entry: str
    chain: Chain | None = None
    without_draft: str | None = None
    measured: MeasuredModes = field(default_factory=MeasuredModes)

    @classmethod
    def of(
        cls,
        alias: str,
        engine_key: str,
        entry: LocalEntry,
        chain: Chain | None = None,
        without_draft: str | None = None,
    ) -> PlanRequest:
        """`chain` replaces the entry's modes. `without_draft` is the reason for a plan without its draft."""
        return cls(alias, engine_key, base64.b64encode(pickle.dumps(entry)).decode(), chain, without_draft)

    @property
    def entry(self) -> LocalEntry:
        entry: Any = pickle.loads(base64.b64decode(self.pickled_entry))
        assert isinstance(entry, LocalEntry)
        return entry


class NodePlanner:
    """Blocking calls of milliseconds, as the gateway's planner."""

    def __init__(self) -> None:
        self._settings = settings_of_environment()
        database = Database(self._settings.state_dir)
        self._planner = Planner(self._settings, Catalog(self._settings), Ledger(database))
        self.state_dir = self._settings.state_dir
        self.memory = NodeMemory(self._settings.llama_server, Footprints(database))

    def binary(self) -> EngineBinary:
        """The node's llama-server. Raises EngineNotFoundError."""
        return self._planner.binary()

    def key(self, request: PlanRequest) -> str:
        """The key under which measurements on this node are kept. Raises the errors of `Planner.key`."""
        planner, ref = self._for(request)
        return planner.key(ref)

    def _for(self, request: PlanRequest) -> tuple[Planner, ModelRef]:
        settings = self._settings.model_copy(update={"models": {request.alias: request.entry}})
        return self._planner.sibling(settings, request.measured), Catalog(settings).resolve(request.engine_key)

    def plan(self, request: PlanRequest) -> LaunchPlan:
        """Raises the errors of `Planner.plan`."""
        planner, ref = self._for(request)
        if request.without_draft is not None:
            return planner.plan_without_draft(ref, request.without_draft)
        return planner.plan_now(ref, request.chain)
