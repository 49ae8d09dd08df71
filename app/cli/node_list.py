"""`node ls`: the nodes of the cluster, as the running gateway sees them, or as a new one would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from app.cli.admin_client import AdminClient
from app.cluster.membership import Membership
from app.config.cluster import ClusterSettings
from app.config.settings import Settings, settings_file
from app.errors import ConfigError
from app.server.address_file import running
from app.terminal import console, say, table

_COLUMNS = ("node", "state", "address", "engines", "llama-server", "why")
_WORDS = ("node", "state", "address", "llama-server", "why")


def list_nodes(settings: Settings, config: Path | None) -> dict[str, Any]:
    """The answer of `/admin/nodes`. Raises ConfigError, RayNotInstalledError and UpstreamError."""
    file = str(settings_file(config))
    if ours := [gateway for gateway in running(settings.state_dir) if gateway.config == file]:
        with AdminClient(settings, ours[0].url) as client:
            listing: dict[str, Any] = client.get("/admin/nodes")
    elif settings.cluster is not None:
        listing = asyncio.run(_as_a_new_gateway(settings.cluster))
    else:
        listing = {"address": None}
    if listing["address"] is None:
        raise ConfigError([f"{file}: there is no cluster; set cluster, with the address of the head and its token"])
    return listing


def print_nodes(listing: dict[str, Any]) -> None:
    """Prints a table, and why there are no nodes if there are none."""
    rows = listing["data"]
    if listing["trouble"]:
        say(f"The cluster {listing['address']} is not connected: {listing['trouble']}")
    elif not rows:
        say(f"The cluster {listing['address']} has no other node. Add one: llama-tandem node start --join ADDRESS")
    if not rows:
        return
    made = table(*_COLUMNS, left=_WORDS)
    for row in rows:
        cells = (row["name"], row["state"], row["address"], str(row["engines"]), row["llama_server"], row["why"])
        made.add_row(*(cell or "-" for cell in cells))
    console().print(made)


async def _as_a_new_gateway(cluster: ClusterSettings) -> dict[str, Any]:
    """Joins the cluster, asks each node, and leaves."""
    from app.cli.check_cluster import until_quiet

    membership = Membership(cluster, lambda: None, lambda _: None)
    membership.open()
    try:
        await until_quiet(membership)
        return membership.fields()
    finally:
        await membership.close()
