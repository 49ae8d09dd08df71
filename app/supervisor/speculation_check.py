"""Checks whether an engine that has just come up really speculates, by a warm-up and `/slots`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import httpx2

from app.config.speculation import Chain, drafts
from app.speculation.status import Evidence
from app.supervisor.engine_client import engine_client
from app.supervisor.readiness import EngineAddress

# Short first, since most drafts show at once. A request for one or two tokens never drafts (b11434).
WARM_UP_TOKENS = (12, 52)
_PROMPT = "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the"
# llama-server's log lines when it gives a draft up; of one failure the later lines are the general ones.
_GIVEN_UP = re.compile(
    r"vocabs are not compatible|failed to initialize speculative|requires a draft context"
    r"|is not eagle3|speculative decoding not supported|not compatible with the target"
)
_LOG_HEAD = re.compile(r"^(?:[\d.]+ )?[A-Z] +\S+ +\S+: ")


async def gather(address: EngineAddress, chain: Chain, log: Iterable[str]) -> Evidence:
    """Collects the evidence. Raises httpx2.HTTPError if the engine stops answering: it has crashed."""
    # No read timeout: large models on slow machines take minutes, and a crash closes the connection.
    async with engine_client(address.base_url, address.key, None) as client:
        drafted = await _warm_up(client) if drafts(chain) else None
        slots = await _slots(client)
    given_up = [line for line in log if _GIVEN_UP.search(line)]
    return Evidence(drafted, slots, _LOG_HEAD.sub("", given_up[-1]).strip() if given_up else "")


async def _warm_up(client: httpx2.AsyncClient) -> int | None:
    """Drafted tokens of a greedy completion; None if the engine completes nothing, such as an embedding model."""
    for tokens in WARM_UP_TOKENS:
        body = {"prompt": _PROMPT, "n_predict": tokens, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        response = await client.post("/completion", json=body)
        if response.status_code != 200:
            return None
        drafted = _object(_object(response.json()).get("timings")).get("draft_n", 0)
        if isinstance(drafted, int) and drafted > 0:
            return drafted
    return 0


async def _slots(client: httpx2.AsyncClient) -> bool | None:
    response = await client.get("/slots")
    rows = response.json() if response.status_code == 200 else None
    words = [_object(row).get("speculative") for row in rows] if isinstance(rows, list) else []
    known = [word for word in words if isinstance(word, bool)]
    return any(known) if known else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
