"""Waits until an engine is up, and verifies that it is the gateway's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx2

from app.supervisor.engine_client import engine_client

# Ready must be noticed within 25 ms of the first 200; a poll takes about a millisecond.
POLL_S = 0.015
ANSWER_S = 2.0


class ForeignServerError(Exception):
    """Another server answers at the port; `props` is what it sends without a key."""

    def __init__(self, message: str, props: Mapping[str, Any] | None = None) -> None:
        self.props = props or {}
        super().__init__(message)


async def wait_until_healthy(base_url: str, key: str) -> None:
    """Returns once `base_url` is ready and verified to be the child that was given `key`.

    `/health` is public on every build and identifies no server. `/props` answers 200 with the key and 401 without.
    Raises ForeignServerError otherwise.
    """
    async with engine_client(base_url, None, ANSWER_S) as client:
        while not await _healthy(client):  # noqa: ASYNC110 - polling is the only way
            await asyncio.sleep(POLL_S)
        try:
            ours = await client.get("/props", headers={"Authorization": f"Bearer {key}"})
            anyone = await client.get("/props")
        except httpx2.HTTPError as error:
            raise ForeignServerError(
                f"it is healthy, but does not answer GET /props ({type(error).__name__})"
            ) from error
        if ours.status_code != 200 or anyone.status_code != 401:
            statuses = f"{ours.status_code} with our key and {anyone.status_code} without"
            raise ForeignServerError(f"GET /props gives {statuses}, not 200 and 401", _props(anyone))


def _props(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return document if answer.status_code == 200 and isinstance(document, dict) else {}


async def _healthy(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == 200
    except httpx2.HTTPError:
        return False
