"""`logs`: prints a running gateway's lines in its own format."""

from __future__ import annotations

import json
import sys
from typing import Any

from app.cli.admin_client import admin_of
from app.config.settings import Settings
from app.log_words import line_for_people
from app.terminal import in_colour, visible


def print_logs(settings: Settings, model: str | None, *, follow: bool, lines: int, as_json: bool) -> None:
    """Returns at the end. Raises UpstreamError if a followed gateway ends."""
    query: dict[str, Any] = {"lines": lines} | ({"model": model} if model else {})
    coloured = in_colour(sys.stdout)
    with admin_of(settings) as client:
        for line in client.lines("/admin/logs/follow" if follow else "/admin/logs", **query):
            print(visible(line) if as_json else _for_people(json.loads(line), coloured), flush=True)


def _for_people(event: dict[str, Any], coloured: bool) -> str:
    at, level = event.pop("at", 0.0), str(event.pop("level", "info"))
    if level == "engine":
        return visible(str(event.get("event", "")))
    return line_for_people(at, level, event, coloured=coloured)
