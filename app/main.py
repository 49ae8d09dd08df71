"""The only wiring: settings in, a gateway out. Everything is built here once, bottom-up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from app import logs, version
from app.api.cors import Application, Cors
from app.api.dispatch import Front, reporter
from app.api.messages.relay import MessagesRelay, message_paths
from app.api.models import ModelRows
from app.api.responses.keeper import Keeper
from app.api.responses.relay import ResponsesRelay, response_paths
from app.auth.guard import Guard
from app.auth.hosts import Hosts, is_loopback
from app.auth.key_cache import Keyring
from app.auth.key_store import KeyStore
from app.auth.keys import from_setting
from app.auth.local_admin_key import local_key, make_local_secret
from app.auth.media_hosts import hosts_of
from app.auth.origins import origins_of
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings
from app.config.speculation import AUTO
from app.engine.environment import what_is_held_back
from app.errors import TandemError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.planner import Planner
from app.pulls.on_demand import OnDemand
from app.pulls.other_processes import Elsewhere
from app.pulls.registry import Pulls
from app.pulls.worker import pull_work
from app.records.database import Database
from app.records.ledger import ColdStart, Ledger
from app.records.measurements import Recorder
from app.records.metrics import Finished, Metrics
from app.records.responses import ResponseStore
from app.records.usage import UsageRecorder
from app.relay.relay import Relay
from app.relay.request.media_fetch import MediaFetcher
from app.relay.request.parse import Calls
from app.relay.upstream.client import Upstreams
from app.scheduler.engine_status import EngineStatus
from app.scheduler.loop import Scheduler
from app.scheduler.residency import Residency
from app.supervisor.orphans import sweep
from app.supervisor.ports import Ports
from app.supervisor.process import Engine
from app.supervisor.readiness import StartLimits
from app.supervisor.states import EngineState

log = logs.get_logger("gateway")


class Gateway:
    """The whole of it: `app` is the ASGI callable; `open` and `close` bracket its life in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalog = Catalog(settings)
        self.metrics = Metrics()
        self._database = Database(settings.state_dir)
        self._ledger = Ledger(self._database)
        self.planner = Planner(settings, self.catalog, self._ledger)
        self.scheduler = Scheduler(
            self._engine,
            max_loaded=settings.max_loaded,
            queue_timeout=settings.queue_timeout,
            max_wait=settings.max_wait,
            queue=settings.queue,
            residency=self._residency,
            prepare=self._fetched,
        )
        self._ports = Ports(settings.engine_port)
        self._recorder = Recorder(self._database)
        self._usage = UsageRecorder(self._database)
        self.pulls = Pulls(pull_work(settings))
        self._on_demand = OnDemand(self.catalog, self.pulls)
        self._upstreams = Upstreams(self.catalog, self.scheduler, self._on_demand)
        media_hosts = hosts_of(settings.allow_remote_media)
        calls = Calls(self.catalog, max_body=int(settings.max_body_mb * 2**20), media_hosts=media_hosts)
        self.relay = Relay(
            calls,
            self._upstreams,
            self.metrics,
            report=reporter(self.metrics, self._record),
            fetcher=MediaFetcher(media_hosts),
        )
        self.keys = Keyring(
            KeyStore(self._database),
            from_setting(settings.api_keys.get_secret_value()),
            open_to_all=settings.no_auth,
        )
        store = ResponseStore(settings.state_dir, tell=log.warning)
        self._keeper = Keeper(store, self.keys, seconds=settings.responses_keep)
        origins = origins_of(settings.cors_origins)
        guard = Guard(self.keys, hosts=_hosts(settings, origins), admin_port=settings.admin_port)
        messages = MessagesRelay(self.relay, calls)
        responses = ResponsesRelay(self.relay, calls, self._keeper)
        translations = {**message_paths(messages, self.relay), **response_paths(responses, self.relay)}
        front = Front(self._build_api, self.relay, self._life, guard, translations)
        self.app: Application = Cors(front, origins) if origins else front
        self._opened = self._leaving = False
        # The alias that is loaded without being asked for
        self.eager: ModelRef | None = None
        # The loop keeps only weak references to tasks
        self._learning: set[asyncio.Task[None]] = set()

    def _build_api(self) -> Application:
        from app.api.admin import admin_routes  # FastAPI, late: see Front
        from app.api.engines import engine_routes
        from app.api.fastapi_app import create_api
        from app.api.log_routes import log_routes
        from app.api.ollama.models import ollama_routes
        from app.api.pulls import pull_routes
        from app.api.responses.endpoints import kept_response_routes

        elsewhere = Elsewhere(self.settings.models_dir)
        rows = ModelRows(self.catalog, self.scheduler, self._on_demand, elsewhere)
        admin = admin_routes(self.catalog, self.scheduler, self.planner)
        ollama = ollama_routes(self.catalog, rows, self.scheduler, max_body=self.relay.max_body)
        engines, kept = engine_routes(self.catalog, self.scheduler), kept_response_routes(self._keeper)
        logs_of = log_routes(self.catalog, closing=lambda: self._leaving)
        more = (engines, logs_of, admin, pull_routes(self.settings, self.pulls), ollama, kept)
        return create_api(rows=rows, scheduler=self.scheduler, metrics=self.metrics, version=version(), more=more)

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        await self.open()
        try:
            yield
        finally:
            await self.close()

    @property
    def local(self) -> list[ModelRef]:
        """Entries that engines are started for."""
        return [ref for ref in self.catalog.refs() if isinstance(ref.entry, LocalEntry)]

    async def open(self) -> None:
        """Raises EngineNotFound where an alias needs an engine and there is none."""
        if self.local:
            log.debug("engine found", origin=self.planner.binary().origin)
            for line in what_is_held_back(os.environ):
                log.warning(line)
            for pid in sweep():
                log.warning("ended an engine that an earlier gateway had left behind", pid=pid)
        self._let_in_our_own_user()
        self.keys.watch()
        self._keeper.watch()
        self._opened = True
        for ref in self.local:
            self.scheduler.use(ref)
        if len(self.catalog.names) == len(self.local) == 1 and self._on_demand.missing(self.local[0]) is None:
            # One model only: whoever starts this wants it. With several, the first request decides.
            self.eager = self.local[0]
            self.scheduler.start(self.eager, "the only model: loaded at the start")
        else:
            self.scheduler.verbs.preload((ref, self._residency(ref)) for ref in self.local)

    def _record(self, request: Finished) -> None:
        self._recorder.add(request)
        self._usage.add(request)

    def _let_in_our_own_user(self) -> None:
        try:
            self.keys.add_local(local_key(make_local_secret(self.settings.state_dir)))
        except OSError as error:
            log.warning("no admin key for the command line of this machine", error=str(error))

    def _residency(self, ref: ModelRef) -> Residency:
        entry = ref.entry
        if isinstance(entry, AttachedEntry):
            return Residency()
        ttl = self.settings.ttl if entry.ttl is None else entry.ttl
        return Residency(ttl, entry.pin, entry.preload, entry.exclusive, entry.priority, entry.parallel)

    async def _fetched(self, ref: ModelRef) -> None:
        """Brings files that are not here, where the entry says so; raises PullFailedError."""
        if isinstance(ref.entry, LocalEntry) and ref.entry.pull == "on_demand":
            await self._on_demand.ensure(ref, patient=True)

    def _engine(self, ref: ModelRef) -> Engine:
        limits = StartLimits(
            stall=self.settings.start_stall_timeout, start=self.settings.start_timeout, grace=self.settings.stop_grace
        )
        return Engine(
            ref.engine_key,
            plan=partial(self.planner.plan, ref),
            ports=self._ports,
            limits=limits,
            ledger=self._ledger,
            on_change=partial(self._changed, ref),
            on_proven=self._proven,
        )

    def _changed(self, ref: ModelRef, engine: Engine) -> None:
        self.metrics.starts[engine.alias] = engine.starts
        if engine.state is EngineState.STARTING:
            self._recorder.starting(engine.alias, partial(self.planner.key, ref))
        if engine.state in (EngineState.BACKOFF, EngineState.FATAL) and engine.diagnosis is not None:
            diagnosis = engine.diagnosis
            self.metrics.exits[engine.alias, diagnosis.code] += 1
            self._ledger.record_failure(engine.alias, diagnosis)
            log.warning(f"engine down: {diagnosis.cause}", alias=engine.alias, advice=diagnosis.advice)
        if engine.state is EngineState.READY and engine.speculation is not None:
            status = engine.speculation
            self._ledger.record_speculation(
                engine.alias, status.requested_mode, bool(status.active), status.mode, status.reason
            )
            if status.requested_mode == AUTO and engine.plan is not None:
                start = ColdStart(time.time(), engine.plan.chosen)
                learning = asyncio.create_task(self._auto_started(ref, start, status.mode))
                self._learning.add(learning)
                learning.add_done_callback(self._learning.discard)
        self.scheduler.changed(engine)

    def _proven(self, engine: Engine) -> None:
        status = engine.speculation
        assert status is not None  # proven by an answer of its
        self._ledger.prove_speculation(engine.alias, status.reason)

    async def _auto_started(self, ref: ModelRef, start: ColdStart, mode: str) -> None:
        """Counts the cold start, and looks up what traffic has taught about the mode that it came up with."""
        with suppress(TandemError, OSError):  # a file that vanished since
            key = await asyncio.to_thread(self.planner.key, ref)
            self._ledger.record_start(key, start)
            self._upstreams.crossings[ref.engine_key] = await asyncio.to_thread(self.planner.crossing, ref, mode)

    async def settled(self, ref: ModelRef) -> EngineStatus:
        """The engine of `ref`, once it has come up or has failed to."""
        return await self.scheduler.settled(ref)

    def refuse_new(self) -> None:
        """No new leases and no new pulls; streams go on, pulls stop where they are."""
        self._leaving = True
        self.scheduler.refuse_new()
        self.pulls.refuse_new()

    async def close(self) -> None:
        """Ends every engine and connection; harmless when it was done before."""
        if not self._opened:
            return
        self._opened = False
        self.refuse_new()
        # First our side of the connections: an engine with an open one does not exit.
        self.relay.cut()
        await asyncio.sleep(0)
        self._upstreams.close()
        self.planner.close()
        await self.scheduler.close()
        await self.pulls.close()
        await asyncio.gather(*self._learning)
        await self._recorder.close()
        await self._keeper.close()
        await self.keys.close()
        await asyncio.to_thread(self._database.close)


def _hosts(settings: Settings, origins: frozenset[bytes]) -> Hosts | None:
    names = [name for name in settings.allowed_hosts.split(",") if name.strip()]
    # Whoever opens the gateway to a network has keys; the names that it is called by there are not known here.
    return Hosts([*names, settings.host], origins) if names or is_loopback(settings.host) else None


def create_app(settings: Settings) -> Application:
    """For those who bring their own server: `llama-tandem serve` does more about signals."""
    return Gateway(settings).app
