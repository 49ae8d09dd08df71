"""Reads the engines of a running gateway, for `check`, `ls` and `stats`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.auth.local_admin_key import local_secret
from app.config.settings import Settings, root_url
from app.errors import UnknownAliasError
from app.models.catalog import Catalog

PATIENCE_S = 2.0
_UP = frozenset(("starting", "ready", "draining"))


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine. `cause` says why it is down, or is empty. `changed` names its changed files."""

    state: str
    cause: str = ""
    retry_after: float | None = None
    changed: str = ""

    @property
    def loaded(self) -> bool:
        return self.state in _UP

    @property
    def failed(self) -> bool:
        """True if the gateway now refuses requests for it."""
        return self.state in ("fatal", "backoff")

    def lines(self, known: str) -> list[str]:
        """Yields lines for a person. `known` is a cause that was already reported."""
        parts = []
        cause = "" if self.cause == known else f": {self.cause}"
        if self.state == "fatal":
            again = "when a file of its entry or its flags changes, or after `llama-tandem load`"
            parts.append(f"failed{cause.rstrip('.')}; it is retried {again}")
        elif self.state == "backoff":
            parts.append(f"down, and started again at a request in {self.retry_after or 0:.0f} s{cause}")
        elif self.cause and self.state not in _UP:
            parts.append(f"down until the next request{cause}")
        if self.changed:
            parts.append(self.changed)
        return [f"in the running gateway: {line}" for line in parts]


def loaded_models(settings: Settings) -> Mapping[str, str]:
    """Returns entry -> the state of its engine if it is up, or of a variant's if only that is up."""
    catalog, states = Catalog(settings), dict[str, str]()
    for name, engine in running_engines(settings).items():
        with suppress(UnknownAliasError):
            if engine.loaded:
                states.setdefault(catalog.resolve(name).alias, engine.state)
    return states


def running_engines(settings: Settings) -> Mapping[str, RunningEngine]:
    """Returns engines by alias; empty if no gateway of these settings runs. Blocks for two seconds at most."""
    secret = local_secret(settings.state_dir)
    if secret is None or not settings.port:
        return {}
    import httpx2  # late: it takes 80 ms

    root = root_url(settings.host, settings.port)
    admin = root_url("127.0.0.1", settings.admin_port) if settings.admin_port else root
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx2.Client(timeout=PATIENCE_S, trust_env=False, verify=False, headers=headers) as client:  # loopback only
        try:
            engines = client.get(f"{admin}/admin/engines").raise_for_status().json()["data"]
            models = client.get(f"{root}/v1/models").raise_for_status().json()["data"]
            changed = {row["id"]: row.get("file_changed", "") for row in models}
            return {row["alias"]: _engine(row, changed.get(row["alias"], "")) for row in engines}
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
            return {}  # another program's server, or another version's


def _engine(row: Mapping[str, Any], changed: str) -> RunningEngine:
    diagnosis = row.get("diagnosis") or {}
    return RunningEngine(str(row["state"]), str(diagnosis.get("cause", "")), row.get("retry_after"), changed)
