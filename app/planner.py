"""Alias -> launch plan, from the files and the binary as they are now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from app.config.model_entry import LocalEntry
from app.config.settings import Settings
from app.config.speculation import AUTO, NONE, Chain
from app.engine.dialect import Dialect
from app.engine.launch import LaunchPlan, build_plan
from app.engine.locate import EngineBinary, locate
from app.engine.preflight import check_arguments, check_files
from app.engine.probe import Prober
from app.engine.translate import Note
from app.models.catalog import Catalog, ModelSpec
from app.models.gguf.header import check_magic
from app.models.purpose import header_of, purpose
from app.records.ledger import Ledger
from app.speculation.bandit import ModeChoice, choose, crossing
from app.speculation.candidates import candidates
from app.speculation.measurement_key import key_of
from app.speculation.resolve import Settled, settle
from app.speculation.trials import Trials
from app.speculation.tuned import recommended


class Planner:
    """Blocking calls of milliseconds; the first one of a build runs its `--help`."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        ledger: Ledger,
        find: Callable[[str], EngineBinary] = locate,
    ) -> None:
        """`find` looks for the engine; one that remembers is for commands that end soon."""
        self._find = find
        self._settings = settings
        self._catalog = catalog
        self._ledger = ledger
        self._prober = Prober(settings.cache_dir)

    def binary(self) -> EngineBinary:
        """Raises EngineNotFound."""
        return self._find(self._settings.llama_server)

    def dialect(self) -> Dialect:
        """Raises EngineNotFound or ProbeFailed."""
        return self._prober.dialect_now(self.binary())

    def close(self) -> None:
        """Ends a probe that still runs: it would hold up the end of the process."""
        self._prober.close()

    def settled(self, alias: str, chain: Chain | None = None) -> Settled:
        """The files and the speculation that a start of `alias` would use; raises what `plan` raises.

        `chain` replaces the modes of the entry or the variant, and what `auto` would choose.
        """
        choice = self.choice(alias) if chain is None and self._catalog.requested(alias) == AUTO else None
        spec = self._catalog.spec(alias, choice.chain if choice else chain)
        _check(spec)
        spec = replace(spec, purpose=purpose(spec.options, header_of(spec.target)))
        settled = settle(spec, self.dialect(), requested=AUTO if choice else None)
        return replace(settled, why=choice.why) if choice else settled

    def choice(self, alias: str) -> ModeChoice:
        """The modes of the next cold start, and why; raises what `settled` raises."""
        requested = self._catalog.requested(alias)
        if requested != AUTO:
            who = "entry" if alias in self._catalog.known else "name"
            return ModeChoice(self._catalog.spec(alias).chain, f"{requested}: the {who} says so.")
        entry = self._catalog.entry(alias)
        assert isinstance(entry, LocalEntry)
        room = entry.too_long
        arms, by_rule = candidates(*self._catalog.files(alias), self.dialect(), lambda chain: not room(chain))
        return recommended(self._ledger.tuned(self.key(alias))) or choose(arms, by_rule, self._trials(alias))

    def crossing(self, alias: str, mode: str) -> int | None:
        """Requests in flight from which plain decoding has been faster than `mode`; raises what `key` raises."""
        return crossing(self._trials(alias), mode) if mode != NONE else None

    def _trials(self, alias: str) -> Trials:
        """Under the key of today."""
        key, base = self.key(alias), self._catalog.base(alias)
        return Trials(self._ledger.starts(key), (row for row in self._ledger.measurements(base) if row.key == key))

    def plan_now(self, alias: str, chain: Chain | None = None) -> LaunchPlan:
        """As `settled`; raises FilesMissing, GgufError, EngineNotFound, ProbeFailed or LaunchRefused."""
        settled = self.settled(alias, chain)
        check_files(settled.spec, self.binary())
        plan = build_plan(
            settled.spec,
            self.binary(),
            self.dialect(),
            port=self._settings.engine_port,
            environ=os.environ,
            config_home=self._settings.state_dir / "no-config",
            requested=settled.requested,
            reason=settled.reason,
            why=settled.why,
            named_files=check_arguments(settled.spec, self.dialect()),
        )
        return replace(plan, notes=(*plan.notes, *self._from_defaults(alias)))

    def _from_defaults(self, alias: str) -> Iterator[Note]:
        for key, where in self._settings.inherited(self._catalog.base(alias)).items():
            yield Note(key, f"comes from defaults ({where})")

    def key(self, alias: str) -> str:
        """What measurements of `alias` and its variants are kept under; raises what `plan` raises."""
        entry = self._catalog.entry(alias)
        assert isinstance(entry, LocalEntry)
        target, draft = self._catalog.files(alias)
        return key_of(entry, target, draft, self.binary())

    async def plan(self, alias: str, chain: Chain | None = None) -> LaunchPlan:
        """As `plan_now`, without blocking the event loop."""
        return await asyncio.to_thread(self.plan_now, alias, chain)


def _check(spec: ModelSpec) -> None:
    """A foreign file is named before anything is started for it; raises GgufError. A draft is `settle`'s to judge."""
    for path in (spec.target, spec.mmproj):
        if path is not None:
            check_magic(path)
