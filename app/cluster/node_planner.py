"""Plans launches on a node: the gateway's entries, with the node's own files, build and folders.

The node's settings come from its environment (`TANDEM_MODELS_DIR`, `TANDEM_LLAMA_SERVER`, `TANDEM_STATE_DIR`,
`TANDEM_CACHE_DIR`), which `llama-tandem node start` sets.
"""

from __future__ import annotations

import base64
import pickle
from dataclasses import dataclass
from typing import Any

from app.cluster.node_memory import NodeMemory
from app.config.model_entry import LocalEntry
from app.config.settings import settings_of_environment
from app.config.speculation import Chain
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary
from app.models.catalog import Catalog
from app.planner import Planner
from app.records.database import Database
from app.records.footprints import Footprints
from app.records.ledger import Ledger


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """An entry to plan. Its text is the gateway's, which may start any program here anyway; nothing comes back so."""

    alias: str
    engine_key: str
    pickled_entry: str
    chain: Chain | None = None
    without_draft: str | None = None

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

    def plan(self, request: PlanRequest) -> LaunchPlan:
        """Raises the errors of `Planner.plan`."""
        settings = self._settings.model_copy(update={"models": {request.alias: request.entry}})
        planner = self._planner.sibling(settings)
        ref = Catalog(settings).resolve(request.engine_key)
        if request.without_draft is not None:
            return planner.plan_without_draft(ref, request.without_draft)
        return planner.plan_now(ref, request.chain)
