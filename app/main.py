"""The composition root: builds a gateway from settings, once, bottom-up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import logs
from app.api.cors import Application, Cors
from app.api.dispatch import Dispatcher, reporter
from app.api.messages.relay import MessagesRelay, message_paths
from app.api.model_list import ModelList
from app.api.models import ModelRows
from app.api.responses.keeper import ResponseKeeper
from app.api.responses.relay import ResponsesRelay, response_paths
from app.auth.guard import Guard
from app.auth.key_cache import Keyring
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, from_setting
from app.auth.local_admin_key import local_key, make_local_secret
from app.auth.media_hosts import hosts_of
from app.auth.origins import origins_of
from app.auth.sessions import Sessions
from app.config.cluster import ClusterSettings
from app.config.exposure import hosts_for
from app.config.model_entry import LocalEntry
from app.config.settings import Settings, root_url, secrets_of
from app.config.speculation import AUTO
from app.engine.environment import withheld_notes
from app.engine.launch import LaunchPlan
from app.errors import EngineNotFoundError, HostLostError, TandemError, UnknownAliasError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.planner import Planner
from app.pulls.on_demand import OnDemand
from app.pulls.other_processes import OtherPulls
from app.pulls.registry import Pulls
from app.pulls.worker import pull_work
from app.records.database import Database
from app.records.footprints import Footprints
from app.records.ledger import ColdStart, Ledger
from app.records.measurements import Recorder
from app.records.metrics import Finished, Metrics
from app.records.recent import RecentAnswers
from app.records.responses import ResponseStore
from app.records.usage import UsageRecorder
from app.relay.relay import Relay
from app.relay.request.media_fetch import MediaFetcher
from app.relay.request.parse import CallReader
from app.relay.traffic import Traffic
from app.relay.upstream.client import UpstreamClient
from app.relay.upstream.router import Router
from app.reload import Reloader
from app.scheduler.loop import Scheduler
from app.scheduler.memory_book import MemoryBook
from app.scheduler.memory_books import MemoryBooks
from app.scheduler.misfits import WANT_OF_MEMORY
from app.scheduler.node_places import NodePlaces, may_run_on
from app.scheduler.residency import Residency, residency_of
from app.scheduler.room import UNCAPPED
from app.supervisor.conversation_files import ConversationFiles
from app.supervisor.conversations import Conversations
from app.supervisor.host import LOCAL, LocalHost, PlacedPlan
from app.supervisor.machine_memory import MachineMemory
from app.supervisor.memory_sight import MemorySight
from app.supervisor.memory_truth import MemoryTruth, RunningPlan
from app.supervisor.orphans import sweep
from app.supervisor.process import Engine
from app.supervisor.readiness import StartLimits
from app.supervisor.states import EngineState

if TYPE_CHECKING:
    from app.scheduler.cluster_nodes import ClusterNodes

log = logs.get_logger("gateway")

_ONLY_MODEL = "the only model: loaded at the start"


class Gateway:
    """The whole gateway. `app` is the ASGI callable. Call `open` and `close` in the same event loop."""

    def __init__(
        self, settings: Settings, read: Callable[[], Settings] | None = None, config: Path | None = None
    ) -> None:
        """`read` reads the settings again for a reload, or is None without a file. `config` is the settings file."""
        self.catalog = Catalog(settings)
        self.metrics = Metrics()
        self._database = Database(settings.state_dir)
        self._ledger = Ledger(self._database)
        self.planner = Planner(settings, self.catalog, self._ledger)
        self._sight = MemorySight(settings.llama_server)
        self.memory = MemoryBook(
            settings.memory,
            settings.memory_margin,
            self._sight.see,
            up=partial(self._holding, LOCAL),
            on_known=lambda: self.scheduler.limit(max_loaded=self._most_loaded(self.settings)),
            truth=MemoryTruth(Footprints(self._database)),
            forget=self._sight.forget,
        )
        self._node_places = NodePlaces(self._most_loaded_on)
        self.books: MemoryBooks | None = None
        if settings.cluster is not None:
            self.books = MemoryBooks(self.memory, self._node_places, self._book_of_node)
        self.scheduler = Scheduler(
            self._engine,
            max_loaded=self._most_loaded(settings),
            memory=self.books or self.memory,
            queue_timeout=settings.queue_timeout,
            max_wait=settings.max_wait,
            queue=settings.queue,
            residency=self._residency,
            prepare=self._fetched,
            nodes=self._node_places,
        )
        self._host = LocalHost(settings.engine_port)
        self._nodes: ClusterNodes | None = None
        self._conversation_files = ConversationFiles(settings.state_dir, config.resolve() if config else None)
        self._conversations = Conversations(self._conversation_files, settings.conversations, self.metrics)
        self._recorder = Recorder(self._database)
        self._usage = UsageRecorder(self._database)
        self._recent = RecentAnswers()
        self.pulls = Pulls(pull_work(lambda: self.settings))
        self._on_demand = OnDemand(self.catalog, self.pulls)
        self._router = Router(self.catalog, self.scheduler, self._on_demand)
        self._client = UpstreamClient()
        media_hosts = hosts_of(settings.allow_remote_media)
        self._calls = CallReader(
            self.catalog, max_body=settings.max_body, max_edit=settings.max_edit, media_hosts=media_hosts
        )
        self._fetcher = MediaFetcher(media_hosts)
        self.traffic = Traffic()
        self._keep_bodies(settings)
        self.relay = Relay(
            self._calls,
            self._router,
            self._client,
            self.metrics,
            report=reporter(self.metrics, self._record, self.traffic),
            fetcher=self._fetcher,
            traffic=self.traffic,
        )
        self._key_store = KeyStore(self._database)
        self.keys = Keyring(
            self._key_store,
            from_setting(settings.api_keys.get_secret_value()),
            open_to_all=settings.no_auth,
        )
        store = ResponseStore(settings.state_dir, report=log.warning)
        self._keeper = ResponseKeeper(store, self.keys, seconds=settings.responses_keep)
        origins = origins_of(settings.cors_origins)
        self.sessions = Sessions(self.keys.valid)
        self._own_key: ApiKey | None = None
        hosts = hosts_for(settings, origins)
        self._guard = Guard(self.keys, hosts=hosts, admin_port=settings.admin_port, sessions=self.sessions)
        messages = MessagesRelay(self.relay, self._calls)
        responses = ResponsesRelay(self.relay, self._calls, self._keeper)
        translations = {**message_paths(messages, self.relay), **response_paths(responses, self.relay)}
        self._rows = ModelRows(
            self.catalog,
            self.scheduler,
            self._on_demand,
            OtherPulls(settings.models_dir),
            list_aliases=lambda: self.settings.list_aliases,
            warning=self._router.tool_check.warning,
            why_unsaved=self._conversations.why_not,
        )
        models = ModelList(self._rows)
        front = Dispatcher(self._build_api, self.relay, self._life, self._guard, translations, models)
        self.app = Cors(front, origins)
        # Called with the settings that a reload has applied
        self.followers: list[Callable[[Settings], None]] = []
        self.reloader = Reloader(
            settings,
            read,
            catalog=self.catalog,
            planner=self.planner,
            scheduler=self.scheduler,
            keys=self.keys,
            apply=self._apply,
            only_model=self._only_model,
        )
        if settings.cluster is not None:
            self._know(settings.cluster)
        self._began = round(time.time(), 3)
        self._opened = self._leaving = False
        # The alias that is loaded at the start
        self.eager: ModelRef | None = None
        # The loop keeps only weak references to tasks
        self._learning: set[asyncio.Task[None]] = set()

    @property
    def settings(self) -> Settings:
        """The current settings."""
        return self.reloader.running

    def _build_api(self) -> Application:
        from app.api.assembly import ApiParts, build_api  # Imports FastAPI, so it is called late: see Dispatcher

        return build_api(
            ApiParts(
                catalog=self.catalog,
                scheduler=self.scheduler,
                planner=self.planner,
                memory=self.memory,
                books=self.books,
                metrics=self.metrics,
                relay=self.relay,
                traffic=self.traffic,
                rows=self._rows,
                recent=self._recent,
                pulls=self.pulls,
                reloader=self.reloader,
                database=self._database,
                keys=self.keys,
                key_store=self._key_store,
                sessions=self.sessions,
                guard=self._guard,
                keeper=self._keeper,
                settings=lambda: self.settings,
                closing=lambda: self._leaving,
                nodes=lambda: None if self._nodes is None else self._nodes.fields(),
                began=self._began,
            )
        )

    @asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        await self.open()
        try:
            yield
        finally:
            await self.close()

    @property
    def local(self) -> list[ModelRef]:
        """The entries that the gateway starts engines for."""
        return [ref for ref in self.catalog.refs() if isinstance(ref.entry, LocalEntry)]

    @property
    def here(self) -> list[ModelRef]:
        """Those whose engines may run on this machine."""
        return [ref for ref in self.local if may_run_on(LOCAL, ref.local_entry.nodes)]

    async def open(self) -> None:
        """Opens the gateway. Raises EngineNotFoundError if an alias needs an engine of this machine, and has none."""
        if self.here:
            self._find_engine()
            for line in withheld_notes(os.environ):
                log.warning(line)
            for pid in sweep():
                log.warning("ended an engine that an earlier gateway had left behind", pid=pid)
        self._let_in_our_own_user()
        self.keys.watch()
        self._keeper.watch()
        self._conversations.watch(self._engine_keys())
        self._opened = True
        if self._nodes is not None:
            self._nodes.open()
        for ref in self.local:
            self.scheduler.use(ref)
        if (only := self._only_model()) is not None:
            self.eager = only
            if self._nodes is None:
                self.scheduler.start(only, _ONLY_MODEL)
            else:
                self.scheduler.verbs.load_soon(only, _ONLY_MODEL)
        if self.local:
            # Runs in the background: listing devices may take a second, and requests are accepted meanwhile
            self._learn(self._see_memory())

    def _find_engine(self) -> None:
        """Raises EngineNotFoundError, unless there may be nodes with one."""
        try:
            log.debug("engine found", origin=self.planner.binary().origin)
        except EngineNotFoundError as error:
            if self._nodes is None:
                raise
            log.warning(f"engines run on nodes only: {error}")

    def _only_model(self) -> ModelRef | None:
        """Returns the single model if its files are here. With several models, the first request decides."""
        if (
            len(self.catalog.names) == len(self.local) == 1
            and not self.local[0].local_entry.nodes
            and self._on_demand.missing(self.local[0]) is None
        ):
            return self.local[0]
        return None

    def _know(self, cluster: ClusterSettings) -> None:
        """Raises RayNotInstalledError."""
        from app.scheduler.cluster_nodes import ClusterNodes  # Not needed without a cluster

        assert self.books is not None
        self._nodes = ClusterNodes(
            cluster,
            scheduler=self.scheduler,
            places=self._node_places,
            books=self.books,
            catalog=self.catalog,
            conversations=self._conversations,
            conversation_files=self._conversation_files,
            ledger=self._ledger,
            here=self._planned_here,
            cut=self._client.cut,
            learn=self._learn,
            opened=lambda: self._opened,
        )

    def _holding(self, machine: str) -> list[str]:
        """The aliases whose engines hold memory of a machine, or are about to."""
        nodes = self._node_places
        return [alias for alias in self.scheduler.holding() if (nodes.node_of(alias) or LOCAL) == machine]

    def _book_of_node(self, node: str, machine: MachineMemory) -> MemoryBook:
        return MemoryBook(
            self.settings.memory,
            self.settings.memory_margin,
            up=partial(self._holding, node),
            on_known=lambda: self.scheduler.pump(),
            machine=machine,
        )

    def _most_loaded_on(self, machine: str) -> int | None:
        """Returns the number of engines that a machine may hold; None if its memory alone decides."""
        book = self.books.of(machine) if self.books else None
        return self.settings.max_loaded or (None if book is not None and book.known else 1)

    async def _see_memory(self) -> None:
        """Reads the memory. From then on it limits the engines, and which ones are preloaded."""
        if self.here:
            await self.memory.look()
        if not self._opened:  # Closed in the meantime
            return
        if self.eager is None:
            self.scheduler.verbs.preload((ref, self._residency(ref)) for ref in self.local)
        await self.scheduler.verbs.log_warnings(self.local)

    def _most_loaded(self, settings: Settings) -> int:
        """Returns 1 if the memory is unknown, or not read yet."""
        return settings.max_loaded or (UNCAPPED if self.memory.known else 1)

    def _keep_bodies(self, settings: Settings) -> None:
        captures = self.traffic.captures
        if settings.captures and settings.captures != captures.most:
            log.warning(f"captures: what the last {settings.captures} requests say is kept, for administrators to read")
        captures.configure(settings.captures, secrets_of(settings))

    def _record(self, request: Finished) -> None:
        self._recorder.add(request)
        self._usage.add(request)
        self._recent.add(request)

    def _let_in_our_own_user(self) -> None:
        try:
            self._own_key = local_key(make_local_secret(self.settings.state_dir))
            self.keys.add_local(self._own_key)
        except OSError as error:
            log.warning("no admin key for the command line of this machine", error=str(error))

    def page_link(self, url: str) -> str:
        """Returns the page's address with a link that signs one browser in within a minute.

        `url` is the clients' URL.
        """
        root = root_url("127.0.0.1", self.settings.admin_port) if self.settings.admin_port else url
        return f"{root}/ui#link={self.sessions.link(self._own_key)}" if self._own_key else f"{root}/ui"

    def _residency(self, ref: ModelRef) -> Residency:
        with suppress(UnknownAliasError):
            ref = self._current_ref(ref)
        return residency_of(ref.entry, self.settings.ttl)

    async def _fetched(self, ref: ModelRef) -> None:
        """Fetches missing files if the entry allows it. Raises PullFailedError."""
        if isinstance(ref.entry, LocalEntry) and ref.entry.pull == "on_demand":
            await self._on_demand.ensure(ref, patient=True)

    def _apply(self, settings: Settings) -> None:
        """Passes changed settings to all parts except the engines."""
        for alias in self.catalog.names:
            if settings.models.get(alias) != self.catalog.entries[alias]:
                self._on_demand.forget(alias)
                self._router.crossings.pop(alias, None)
        if (settings.log_format, settings.log_level) != (self.settings.log_format, self.settings.log_level):
            logs.configure(settings.log_format, settings.log_level)
        self.catalog.replace(settings.models)
        self.planner.use(settings)
        limits = ("queue_timeout", "max_wait", "queue")
        self._sight.llama_server = settings.llama_server
        (self.books or self.memory).configure(settings.memory, settings.memory_margin)
        self.scheduler.limit(
            max_loaded=self._most_loaded(settings), **{name: getattr(settings, name) for name in limits}
        )
        bounds = ("max_loaded", "memory", "memory_margin")
        if any(getattr(settings, name) != getattr(self.settings, name) for name in bounds):
            self.scheduler.reconfiguration.keep_to_the_limit()
        self.scheduler.reconfiguration.limit_starts(StartLimits.of(settings))
        self._fetcher.hosts = hosts_of(settings.allow_remote_media)
        self._calls.configure(max_body=settings.max_body, max_edit=settings.max_edit, media_hosts=self._fetcher.hosts)
        configured = from_setting(settings.api_keys.get_secret_value())
        self.keys.configure(configured, open_to_all=settings.no_auth)
        self._keeper.seconds = settings.responses_keep
        self._keep_bodies(settings)
        self._conversations.use(settings.conversations, self._engine_keys())
        self.app.origins = origins_of(settings.cors_origins)
        self._guard.called_by(hosts_for(settings, self.app.origins))
        for follow in self.followers:
            follow(settings)

    def _engine_keys(self) -> list[str]:
        """Returns the key of every engine that the catalog may start, variants included."""
        return [ref.engine_key for ref in self.catalog.refs(variants=True)]

    def _current_ref(self, ref: ModelRef) -> ModelRef:
        """Returns the ref with the current entry. Raises UnknownAliasError if a reload has removed it."""
        return self.catalog.resolve(ref.engine_key)

    def _engine(self, ref: ModelRef) -> Engine:
        async def plan() -> PlacedPlan:
            now = self._current_ref(ref)
            return await (self._planned_here(now) if self._nodes is None else self._nodes.plan(now))

        self._current_ref(ref)  # A reload may have removed it while the request waited for files
        return Engine(
            ref.engine_key,
            plan=plan,
            limits=StartLimits.of(self.settings),
            ledger=self._ledger,
            on_change=partial(self._changed, ref),
            on_proven=self._proven,
            busy=lambda: self.scheduler.in_flight_of(ref.engine_key) > 0,
            conversations=self._conversations,
        )

    async def _planned_here(self, ref: ModelRef) -> PlacedPlan:
        async def without_draft(reason: str) -> LaunchPlan:
            return await asyncio.to_thread(self.planner.plan_without_draft, ref, reason)

        planned = await self.memory.planned(ref.engine_key, await self.planner.plan(ref), without_draft)
        return PlacedPlan(self._host, planned)

    def _changed(self, ref: ModelRef, engine: Engine) -> None:
        with suppress(UnknownAliasError):
            ref = self._current_ref(ref)
        self.metrics.starts[engine.alias] = engine.starts
        if engine.state is EngineState.STARTING:
            self._recorder.starting_elsewhere(engine.alias, self._measurement_key(ref))
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
                self._learn(self._auto_started(ref, start, status.mode))
        self._follow_memory(engine)
        self.scheduler.changed(engine)

    def _follow_memory(self, engine: Engine) -> None:
        """Before the scheduler acts: what a start has run out of is part of its next decision."""
        machine = self._node_places.node_of(engine.alias) or LOCAL
        book = self.memory if self.books is None else self.books.of(machine)
        if book is None:  # of a node that is lost
            return
        beside = [alias for alias in self._holding(machine) if alias != engine.alias]
        match engine.state:
            case EngineState.READY if engine.plan is not None and engine.pid is not None:
                running = RunningPlan(engine.plan, engine.pid, engine.log)
                self._learn(self._measure_memory(book, machine, engine.alias, running))
            case EngineState.BACKOFF if engine.diagnosis is not None and engine.diagnosis.code in WANT_OF_MEMORY:
                book.starved(engine.alias, engine.diagnosis, beside)
        if engine.pid is None:
            book.left(engine.alias)

    async def _measure_memory(self, book: MemoryBook, machine: str, alias: str, running: RunningPlan) -> None:
        with suppress(HostLostError):
            await book.came_up(alias, running)
        # It may take more than was thought
        up = self._holding(machine)
        if alias not in up:  # it has gone meanwhile
            book.left(alias)
        elif self._opened and not book.holds(up):
            self.scheduler.reconfiguration.keep_to_the_limit(f"{alias} takes more memory than estimated")

    def _learn(self, learning: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(learning)
        self._learning.add(task)
        task.add_done_callback(self._learning.discard)

    def _proven(self, engine: Engine) -> None:
        status = engine.speculation
        assert status is not None  # Proved by an answer of its own
        self._ledger.prove_speculation(engine.alias, status.reason)

    async def _auto_started(self, ref: ModelRef, start: ColdStart, mode: str) -> None:
        """Counts the cold start, and looks up the measurements of its mode."""
        with suppress(TandemError, OSError):  # A file that is missing since then
            key = await self._measurement_key(ref)
            self._ledger.record_start(key, start)
            self._router.crossings[ref.engine_key] = await asyncio.to_thread(self.planner.crossing, ref, mode, key)

    async def _measurement_key(self, ref: ModelRef) -> str:
        """The key on the machine that its engine runs on. Raises the errors of `Planner.key`, and HostLostError."""
        node = self._node_places.node_of(ref.engine_key)
        if self._nodes is None or node in ("", LOCAL):
            return await asyncio.to_thread(self.planner.key, ref)
        return await self._nodes.measurement_key(ref, node)

    def refuse_new(self) -> None:
        """Refuses new leases and pulls. Streams continue, and pulls stop."""
        self._leaving = True
        self.scheduler.refuse_new()
        self.pulls.refuse_new()

    async def close(self) -> None:
        """Ends every engine and connection. Harmless if called again."""
        if not self._opened:
            return
        self._opened = False
        self.refuse_new()
        # Our connections first: an engine with an open connection does not exit.
        self.relay.cut()
        await asyncio.sleep(0)
        self._client.close()
        self._calls.close()
        self.planner.close()
        self._sight.close()
        await self.scheduler.close()
        if self._nodes is not None:
            await self._nodes.close()
        await self.pulls.close()
        await asyncio.gather(*self._learning)
        await self._recorder.close()
        await self._keeper.close()
        await self._conversations.close()
        await self.keys.close()
        await asyncio.to_thread(self._database.close)


def create_app(settings: Settings) -> Application:
    """Creates an app for another ASGI server. `llama-tandem serve` also handles signals."""
    return Gateway(settings).app
