"""Plans a launch: ref -> chain -> files -> verdict -> launch plan, from the current files and binary."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from app.config.settings import Settings
from app.config.speculation import AUTO, NONE, PLAIN, Chain, named
from app.engine.argument_trial import check_values
from app.engine.arguments import read_arguments
from app.engine.dialect import Dialect
from app.engine.launch import LaunchPlan, build_plan
from app.engine.locate import EngineBinary, locate
from app.engine.preflight import check_arguments, check_draft, check_files
from app.engine.probe import Prober
from app.engine.template_trial import check_template
from app.engine.translate import Note
from app.models.catalog import Catalog, ModelSpec
from app.models.gguf.filenames import shards
from app.models.gguf.header import check_magic
from app.models.purpose import header_of, purpose
from app.models.ref import ModelRef
from app.speculation.bandit import ModeChoice, choose, crossing, figures_of
from app.speculation.candidates import candidates
from app.speculation.measurement_key import key_of
from app.speculation.mode_records import ModeRecords
from app.speculation.resolve import ResolvedSpeculation, settle
from app.speculation.trials import Trials
from app.speculation.tuned import recommended


@dataclass(frozen=True, slots=True)
class ChosenChain:
    """The modes for a start. `auto_reason` explains the choice if `requested_mode` is `auto`."""

    ref: ModelRef
    chain: Chain
    requested_mode: str
    auto_reason: str = ""


class Planner:
    """Blocking calls of milliseconds. The first call for a build runs its `--help`."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        ledger: ModeRecords,
        find: Callable[[str], EngineBinary] = locate,
    ) -> None:
        """`find` locates the engine. A caching one is for commands that end soon."""
        self._find = find
        self._settings = settings
        self._catalog = catalog
        self._ledger = ledger
        self._prober = Prober(settings.cache_dir)

    def use(self, settings: Settings) -> None:
        """Applies new settings, except for the cache folder."""
        self._settings = settings

    def sibling(self, settings: Settings, records: ModeRecords | None = None) -> Planner:
        """Returns a planner for other settings and their catalog. It shares the knowledge about builds.

        `records` replace those that `auto` goes by.
        """
        planner = Planner(settings, Catalog(settings), records or self._ledger, self._find)
        planner._prober = self._prober
        return planner

    def binary(self) -> EngineBinary:
        """Returns the engine's path. Raises EngineNotFoundError."""
        return self._find(self._settings.llama_server)

    def dialect(self) -> Dialect:
        """Returns the build's dialect. Raises EngineNotFoundError or ProbeError."""
        return self._prober.dialect_now(self.binary())

    def close(self) -> None:
        """Ends a running probe, which would delay the end of the process."""
        self._prober.close()

    # -- the steps: a ref, the chain to start it with, the files for it, what they allow, the command line -------

    def plan_now(self, ref: ModelRef, chain: Chain | None = None) -> LaunchPlan:
        """As `settled`. Raises FilesMissingError, GgufError, EngineNotFoundError, ProbeError or LaunchRefusedError."""
        return self._planned(self.settled(ref, chain))

    def plan_without_draft(self, ref: ModelRef, reason: str) -> LaunchPlan:
        """As `plan_now`, without the draft and the modes that need it. `reason` says why."""
        settled = self.settled(ref)
        rest = tuple(step for step in settled.spec.chain if step.family != "draft")
        spec = replace(settled.spec, chain=rest, draft=None)
        reasons = " ".join(filter(None, (settled.fallback_reason, reason)))
        plan = self._planned(replace(settled, spec=spec, fallback_reason=reasons, left_out=settled.spec.draft))
        return replace(plan, notes=(Note("draft", reason), *plan.notes)) if reason else plan

    def settled(self, ref: ModelRef, chain: Chain | None = None) -> ResolvedSpeculation:
        """Returns the files and the speculation of a start of `ref`. Raises the errors of `plan`.

        `chain` replaces the modes of the entry or the variant, and the choice of `auto`.
        """
        return self._judged(self._found(self._chosen(ref, chain)))

    def _chosen(self, ref: ModelRef, chain: Chain | None) -> ChosenChain:
        if chain is not None:
            return ChosenChain(ref, chain, named(chain))
        if ref.requested_mode != AUTO:
            return ChosenChain(ref, ref.chain or PLAIN, ref.requested_mode)
        choice = self.choice(ref)
        return ChosenChain(ref, choice.chain, AUTO, choice.auto_reason)

    def _found(self, chosen: ChosenChain) -> ModelSpec:
        """Returns the files, with the purpose in the target's header. `settle` judges the draft."""
        spec = self._catalog.spec(chosen.ref, chosen.chain)
        for path in (spec.target, spec.mmproj):
            if path is not None:
                check_magic(path)  # Reports a wrong file before any start
        return replace(
            spec,
            purpose=purpose(spec.options, header_of(spec.target)),
            requested_mode=chosen.requested_mode,
            auto_reason=chosen.auto_reason,
        )

    def _judged(self, spec: ModelSpec) -> ResolvedSpeculation:
        return settle(spec, self.dialect())

    def _planned(self, settled: ResolvedSpeculation) -> LaunchPlan:
        spec, engine = settled.spec, self.binary()
        check_files(spec, engine)
        if spec.requested_mode != AUTO:  # It may always choose plain decoding
            check_draft(spec, engine)
        plan = build_plan(
            spec,
            engine,
            self.dialect(),
            port=self._settings.engine_port,
            environ=os.environ,
            config_home=self._settings.state_dir / "no-config",
            fallback_reason=settled.fallback_reason,
            named_files=check_arguments(spec, self.dialect()),
        )
        check_values(plan, read_arguments(spec.options.args, self.dialect()), self.dialect(), engine)
        check_template(plan, engine)
        left_out = tuple(shards(settled.left_out)) if settled.left_out is not None else ()
        notes = (*plan.notes, *self._conversations(plan), *self._from_defaults(spec.ref))
        return replace(plan, notes=notes, left_out=left_out)

    def _conversations(self, plan: LaunchPlan) -> Iterator[Note]:
        if plan.why_unsaved and self._settings.conversations.on:
            yield Note("conversations", f"not kept over a swap: {plan.why_unsaved}")

    def _from_defaults(self, ref: ModelRef) -> Iterator[Note]:
        for key, where in self._settings.inherited(ref.alias).items():
            yield Note(key, f"comes from defaults ({where})")

    async def plan(self, ref: ModelRef, chain: Chain | None = None) -> LaunchPlan:
        """As `plan_now`, without blocking the event loop."""
        return await asyncio.to_thread(self.plan_now, ref, chain)

    # -- what `auto` goes by ---------------------------------------------------------------------------------

    def choice(self, ref: ModelRef) -> ModeChoice:
        """Returns the modes of the next cold start, and the reason. Raises the errors of `settled`."""
        if ref.requested_mode != AUTO:
            who = "name" if ref.variant else "entry"
            return ModeChoice(self._catalog.spec(ref).chain, f"{ref.requested_mode}: the {who} says so.")
        room = ref.local_entry.too_long
        arms, by_rule = candidates(*self._catalog.files(ref), self.dialect(), lambda chain: not room(chain))
        return recommended(self._ledger.tuned(self.key(ref))) or choose(arms, by_rule, self._trials(ref))

    def figures(self, ref: ModelRef) -> dict[str, dict[str, Any]]:
        """Returns the measurements of each mode from traffic, with intervals. Raises as `key` does."""
        return figures_of(self._trials(ref))

    def crossing(self, ref: ModelRef, mode: str, key: str | None = None) -> int | None:
        """Returns the number of requests in flight from which plain decoding was faster than `mode`.

        `key` is the measurement key of another machine. Raises the errors of `key`.
        """
        return crossing(self._trials(ref, key), mode) if mode != NONE else None

    def _trials(self, ref: ModelRef, key: str | None = None) -> Trials:
        """Returns the trials under a measurement key, by default the current one of this machine."""
        key = self.key(ref) if key is None else key
        return Trials(self._ledger.starts(key), (row for row in self._ledger.measurements(ref.alias) if row.key == key))

    def key(self, ref: ModelRef) -> str:
        """Returns the measurement key of an entry and its variants. Raises the errors of `plan`."""
        target, draft = self._catalog.files(ref)
        return key_of(ref.local_entry, target, draft, self.binary())
