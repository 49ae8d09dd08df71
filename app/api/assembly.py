"""Puts the routes of FastAPI together. It imports FastAPI, so it is imported at the first request that needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI

from app import version
from app.api.admin import admin_routes
from app.api.admin_engine import engine_view_routes
from app.api.admin_events import event_routes
from app.api.admin_facts import GatewayFacts
from app.api.admin_feed import AdminFeed, look_at
from app.api.admin_history import history_routes
from app.api.admin_hub import hub_routes
from app.api.admin_keys import key_routes
from app.api.admin_reload import reload_routes
from app.api.admin_requests import request_routes
from app.api.engines import engine_routes
from app.api.ephemeral import ephemeral_routes
from app.api.fastapi_app import create_api
from app.api.live import LiveFigures
from app.api.log_routes import log_routes
from app.api.memory_routes import memory_routes
from app.api.models import ModelRows
from app.api.node_routes import node_routes
from app.api.ollama.models import ollama_routes
from app.api.page_session import session_routes
from app.api.pulls import pull_routes
from app.api.responses.endpoints import kept_response_routes
from app.api.responses.keeper import ResponseKeeper
from app.auth.guard import Guard
from app.auth.key_cache import Keyring
from app.auth.key_store import KeyStore
from app.auth.sessions import Sessions
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.planner import Planner
from app.pulls.registry import Pulls
from app.records.database import Database
from app.records.metrics import Metrics
from app.records.recent import RecentAnswers
from app.relay.relay import Relay
from app.relay.traffic import Traffic
from app.reload import Reloader
from app.scheduler.loop import Scheduler
from app.scheduler.memory_book import MemoryBook
from app.scheduler.memory_books import MemoryBooks


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """The parts of a gateway that routes read or steer.

    `settings` returns the current ones, `closing` whether the gateway is shutting down. `nodes` returns the cluster's,
    or None without a cluster. `began` is in seconds since the epoch.
    """

    catalog: Catalog
    scheduler: Scheduler
    planner: Planner
    memory: MemoryBook
    # Of all machines, if there is a cluster
    books: MemoryBooks | None
    metrics: Metrics
    relay: Relay
    traffic: Traffic
    rows: ModelRows
    recent: RecentAnswers
    pulls: Pulls
    reloader: Reloader
    database: Database
    keys: Keyring
    key_store: KeyStore
    sessions: Sessions
    guard: Guard
    keeper: ResponseKeeper
    settings: Callable[[], Settings]
    closing: Callable[[], bool]
    nodes: Callable[[], dict[str, Any] | None]
    began: float


def build_api(parts: ApiParts) -> FastAPI:
    """Returns the application that answers all requests but those of the relay."""
    catalog, scheduler, planner, traffic, keys = (
        parts.catalog,
        parts.scheduler,
        parts.planner,
        parts.traffic,
        parts.keys,
    )
    facts = GatewayFacts(catalog, scheduler, planner, parts.books or parts.memory, parts.settings, parts.began)
    watched = partial(look_at, scheduler, parts.pulls, traffic, facts.gateway, facts.beside)
    more = (
        engine_routes(catalog, scheduler, LiveFigures(catalog, parts.recent)),
        memory_routes(scheduler, parts.memory, parts.books),
        node_routes(parts.nodes),
        log_routes(catalog, closing=parts.closing),
        admin_routes(catalog, scheduler, planner),
        reload_routes(parts.reloader),
        ephemeral_routes(parts.reloader, keys),
        pull_routes(parts.settings, parts.pulls),
        ollama_routes(catalog, parts.rows, scheduler, max_body=lambda: parts.relay.max_body),
        kept_response_routes(parts.keeper),
        event_routes(AdminFeed(watched, traffic), closing=parts.closing),
        engine_view_routes(catalog, scheduler, planner, parts.closing),
        history_routes(catalog, parts.database),
        hub_routes(parts.settings, parts.memory),
        key_routes(parts.key_store, keys),
        request_routes(traffic),
        session_routes(keys, parts.sessions, parts.guard),
    )
    return create_api(rows=parts.rows, scheduler=scheduler, metrics=parts.metrics, version=version(), more=more)
