"""The reports of `plan` and `check`, made without starting an engine and without a device."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from app.cli.attached_servers import answers, port_hint
from app.cli.check_nodes import also_on_nodes, ask_cluster, report_on_nodes
from app.cli.check_report import CANNOT_START, FAILED_LAST, NO_ANSWER, OK, CheckReport
from app.cli.check_speculation import draft_in_doubt, speculation_lines, starts_without
from app.cli.launch_memory import PlannedStart, devices_of, memory_lines, memory_warnings, start_of
from app.cli.options import records
from app.cli.running_gateway import RunningEngine, running_engines
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings, load_settings
from app.config.speculation import AUTO, NONE
from app.engine.devices import absent
from app.engine.dialect import Dialect
from app.engine.environment import withheld_notes
from app.engine.footprint.verdict import MemoryVerdict
from app.engine.launch import SYSTEM_CONFIG, LaunchPlan
from app.engine.locate import EngineBinary, locate
from app.engine.preflight import advice, check_files
from app.engine.probe import Prober
from app.errors import (
    ConfigError,
    EngineNotFoundError,
    FilesMissingError,
    LaunchRefusedError,
    ProbeError,
    StoreError,
    TandemError,
)
from app.models.catalog import Catalog
from app.models.download.pull_item import items_of
from app.models.gguf.filenames import shards
from app.models.gguf.header_cache import check_whole_of, header_of
from app.models.ref import ModelRef
from app.planner import Planner
from app.records.footprints import Footprints
from app.records.ledger import Failure, Ledger
from app.scheduler.node_places import may_run_on
from app.scheduler.pins import pin_warnings
from app.scheduler.residency import residency_of
from app.scheduler.room import UNCAPPED
from app.speculation.resolve import damage
from app.supervisor.host import LOCAL
from app.supervisor.memory_truth import MemoryTruth
from app.terminal import size_in_words


def planned(settings: Settings, alias: str) -> PlannedStart:
    """As `plan_now`, with the memory that the plan needs."""
    plan, database = plan_now(settings, alias), records(settings)
    catalog = Catalog(settings)
    planner = Planner(settings, catalog, Ledger(database))
    return start_of(settings, planner, catalog.resolve(alias), plan, MemoryTruth(Footprints(database)))


def plan_now(settings: Settings, alias: str) -> LaunchPlan:
    """Returns the launch plan of `alias` on the installed build. Raises the planner's errors."""
    catalog = Catalog(settings)
    ref = catalog.resolve(alias)
    try:
        return Planner(settings, catalog, Ledger(records(settings))).plan_now(ref)
    except FilesMissingError as error:
        lines, _ = _to_pull(settings, ref, error)
        raise FilesMissingError("\n".join((str(error), *lines))) from None


def dialect_at_hand(config: Path | None) -> Dialect | None:
    """Returns the flags of the settings' llama-server, or None without settings or an engine.

    Raises ConfigError only for a `config` from the command line.
    """
    try:
        settings = load_settings(config)
        return Prober(settings.cache_dir).dialect_now(locate(settings.llama_server))
    except ConfigError:
        if config is not None:
            raise
    except (EngineNotFoundError, ProbeError):
        pass
    return None


def inspect(settings: Settings, alias: str | None) -> Iterator[CheckReport]:
    """Yields a report on the engine, then one on each alias, or on the given one."""
    catalog, ledger = Catalog(settings), Ledger(records(settings))
    planner = Planner(settings, catalog, ledger, find=cache(locate))
    refs = [catalog.resolve(alias)] if alias is not None else catalog.refs()
    attached = {ref.name: ref.entry for ref in refs if isinstance(ref.entry, AttachedEntry)}
    local = [ref for ref in refs if isinstance(ref.entry, LocalEntry)]
    here = [ref for ref in local if may_run_on(LOCAL, ref.local_entry.nodes)]
    with answers({name: entry for name, entry in attached.items() if not settings.unset_key(name)}) as replies:
        if here:
            yield _engine(settings)
        cluster = ask_cluster(settings, local)
        if cluster is not None:
            yield CheckReport(tuple(cluster.lines), cluster.fine)
        uses, running = ledger.last_uses(), running_engines(settings)
        seen: dict[str, MemoryVerdict] = {}
        for ref in refs:
            if isinstance(ref.entry, AttachedEntry):
                unset = settings.unset_key(ref.name)
                yield _attached(ref.name, ref.entry, "" if unset else replies[ref.name].result(), unset)
            elif ref not in here:
                yield report_on_nodes(ref, cluster)
            else:
                key = ref.engine_key
                report = _alias(settings, catalog, planner, ledger, ref, uses.get(key, 0.0), running.get(key), seen)
                yield also_on_nodes(report, ref, cluster)
        if alias is None:
            yield from _pins(settings, refs, seen)


def _engine(settings: Settings) -> CheckReport:
    try:
        lines = [f"engine: {locate(settings.llama_server).origin}"]
    except TandemError as error:
        return CheckReport((f"engine: {error}",), fine=False)
    if SYSTEM_CONFIG.is_file():
        lines.append(
            f"  warning: {SYSTEM_CONFIG} exists; llama-server takes options from it that an entry does not set"
        )
    lines += [f"  warning: {line}" for line in (*withheld_notes(os.environ), *memory_warnings(settings))]
    return CheckReport(tuple(lines), fine=True)


def _attached(name: str, entry: AttachedEntry, problem: str, unset_key: str) -> CheckReport:
    """Reports `ok` only if the server answers now, though it may come back at any time."""
    lines = [name, f"  attached   {entry.url}"]
    if unset_key:
        reason = f"  CANNOT START: models.{name}.api_key: {unset_key}"
        return CheckReport((*lines, reason), fine=False, outcome=CANNOT_START)
    if problem:
        hint = port_hint(entry.url)
        return CheckReport((*lines, f"  NO ANSWER: {problem}{hint}"), fine=False, outcome=NO_ANSWER)
    return CheckReport((*lines, "  ok"), fine=True, outcome=OK)


def _alias(
    settings: Settings,
    catalog: Catalog,
    planner: Planner,
    ledger: Ledger,
    ref: ModelRef,
    used: float,
    running: RunningEngine | None,
    seen: dict[str, MemoryVerdict],
) -> CheckReport:
    """Reports on a model.

    `used` is when its engine last came up or answered; `running` is its state in a running gateway. Its memory is added
    to `seen`.
    """
    lines, fine = [ref.name], True
    try:
        lines += _start(settings, catalog, planner, ref, seen)
    except FilesMissingError as error:
        hints, fine = _to_pull(settings, ref, error)
        reason = f"CANNOT START: {error} {'' if error.repo else error.advice}".rstrip()
        lines += [f"  {line}" for line in (*(() if fine else (reason,)), *hints)]
    except EngineNotFoundError:
        fine = False
        lines.append("  CANNOT START: no llama-server, see above.")
    except TandemError as error:
        fine = False
        lines.append(f"  CANNOT START: {error}")
    failure = ledger.last_failure(ref.engine_key)
    lines += [f"  {line}" for line in _history(ledger, ref.engine_key, failure)]
    if running is not None:
        lines += [f"  {line}" for line in running.lines(failure.diagnosis.cause if failure else "")]
    if not fine:
        return CheckReport(tuple(lines), fine=False, outcome=CANNOT_START)
    if (failure is not None and failure.at > used) or (running is not None and running.failed):
        lines.append("  a start looks possible now, but the last one failed, see above")
        return CheckReport(tuple(lines), fine=True, outcome=FAILED_LAST)
    return CheckReport(
        (*lines, f"  ok{', without speculation' if starts_without(lines) else ''}"), fine=True, outcome=OK
    )


def _pins(settings: Settings, refs: Iterable[ModelRef], seen: Mapping[str, MemoryVerdict]) -> Iterator[CheckReport]:
    """Yields warnings about what pinned models leave for the others."""
    local = {ref.engine_key: residency_of(ref.entry, settings.ttl) for ref in refs if isinstance(ref.entry, LocalEntry)}
    needs = {alias: verdict.footprint.by_device() for alias, verdict in seen.items()}
    budgets = next((verdict.budgets for verdict in seen.values()), {})
    places = settings.max_loaded or (UNCAPPED if seen else 1)
    if lines := tuple(f"  warning: {line}" for line in pin_warnings(local, places, needs, budgets)):
        yield CheckReport(("residency", *lines), fine=True)


def _history(ledger: Ledger, engine_key: str, failure: Failure | None) -> Iterator[str]:
    """Yields the speculation of the last start, and the reason of the last failure."""
    if (seen := ledger.last_speculation(engine_key)) is not None and (seen.active or seen.requested != NONE):
        off = f"{seen.requested} was off" if seen.mode == NONE else f"{seen.mode} was not verified"
        state = f"{seen.mode} was on" if seen.active else f"{off}: {seen.reason}"
        yield f"last start, {_when(seen.at)}: {state}"
    if failure is not None:
        yield f"last failure, {_when(failure.at)}: {failure.diagnosis}"
        yield from (f"  | {line}" for line in failure.diagnosis.log_tail)


def _see_to_devices(engine: EngineBinary, options: LocalEntry) -> None:
    """Raises LaunchRefusedError for a device that this engine does not have, as a start would."""
    if options.device is None or "--rpc" in options.args:  # remote ones are seen at a start only
        return
    try:
        there = devices_of(engine, tuple(sorted(options.env.items())))
    except ProbeError:
        return
    if missing := absent(options.device, there):
        names = ", ".join(device.name for device in there) or "none"
        raise LaunchRefusedError(f"device: there is no {', '.join(missing)} here; this llama-server sees: {names}.")


def _start(
    settings: Settings, catalog: Catalog, planner: Planner, ref: ModelRef, seen: dict[str, MemoryVerdict]
) -> Iterator[str]:
    """Yields the lines on a start. Raises the planner's errors."""
    if ref.local_entry.pull == "on_demand":
        catalog.files(ref)  # an unused draft is pulled too
    spec = catalog.spec(ref)
    yield f"  target     {_described(spec.target)}"
    if spec.draft is not None:
        # Without it the model still starts. The reason is reported below.
        yield f"  draft      {f'{spec.draft} (damaged)' if damage(shards(spec.draft)) else _described(spec.draft)}"
    if spec.mmproj is not None:
        yield f"  projector  {_described(spec.mmproj)}"
    check_files(spec, planner.binary())
    yield from draft_in_doubt(planner.binary(), spec)
    _see_to_devices(planner.binary(), spec.options)
    settled = planner.settled(ref)
    yield from speculation_lines(catalog, planner, settled)
    if ref.requested_mode == AUTO:
        yield f"    next start: {planner.choice(ref).auto_reason}"
    truth = MemoryTruth(Footprints(records(settings)))
    start = start_of(settings, planner, ref, planner.plan_now(ref), truth)
    if start.memory is not None:
        seen[ref.engine_key] = start.memory
    yield from memory_lines(start.memory)
    for note in (*start.plan.notes, *advice(settled.spec)):
        yield f"  {note.key}: {note.text}"


def _to_pull(settings: Settings, ref: ModelRef, error: FilesMissingError) -> tuple[list[str], bool]:
    """Returns how to get missing files, and whether the first request does, as far as the Hub tells."""
    if not error.repo:
        return [], False
    alias, entry = ref.alias, ref.entry
    try:
        items = items_of(alias, entry)
    except StoreError:  # not from the Hub
        return [], False
    if isinstance(entry, AttachedEntry) or entry.pull == "never":
        names = " and ".join(f"{item.repo} ({item.pattern})" for item in items)
        return [f'Run "llama-tandem pull {alias}" to download {names}.'], False
    from app.models.download.preview import preview  # huggingface_hub is slow to import

    try:
        return [f"the first request pulls {line}" for line in preview(settings, items)], True
    except StoreError as error:
        return [f"It cannot be pulled: {error}"], False


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _described(first: Path) -> str:
    """Returns path, architecture and size. Raises GgufError."""
    header = header_of(first)
    files = shards(first)
    for path in files:
        check_whole_of(path)
    size = sum(path.stat().st_size for path in files)
    count = f", {len(files)} shards" if len(files) > 1 else ""
    return f"{first} ({header.architecture}{count}, {size_in_words(size)})"
