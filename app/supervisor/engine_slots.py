"""The slots of a running engine over HTTP: list, save, restore, erase, and verify a restore."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

import httpx2

from app.supervisor.engine_client import engine_client
from app.supervisor.readiness import EngineAddress


class SlotsRefusedError(Exception):
    """The engine refuses, with its own message. `lasting` is True if it always will."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


class SlotHeld(NamedTuple):
    """`tokens` is None if the build does not report it. `task` grows with each request; None if unused."""

    number: int
    tokens: int | None
    task: int | None


class EngineSlots:
    """Methods raise httpx2.HTTPError if the engine does not answer, SlotsRefusedError if it refuses."""

    def __init__(self, address: EngineAddress) -> None:
        self._client = engine_client(address.base_url, address.key, None)

    async def __aenter__(self) -> EngineSlots:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def held(self) -> list[SlotHeld]:
        """The slots, except those whose last request set scales of adapters: other requests cannot use their tokens.

        Empty if the engine sleeps: it holds no tokens, and the question would load its model again.
        """
        if _object(_json(await self._client.get("/props"))).get("is_sleeping") is True:
            return []
        response = await self._client.get("/slots")
        if response.status_code != 200:
            raise _refused(response)
        rows = _json(response)
        fields = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return [
            SlotHeld(row["id"], _whole(row.get("n_prompt_tokens")), _whole(row.get("id_task")))
            for row in fields
            if _whole(row.get("id")) is not None and not await self._has_own_adapters(row)
        ]

    async def _has_own_adapters(self, row: dict[str, Any]) -> bool:
        """Whether the slot's last request set other scales than the engine has."""
        own = _object(row.get("params")).get("lora")
        if not own:  # b11434 lists none without a request's own
            return False
        response = await self._client.get("/lora-adapters")
        return _scales(own) != _scales(_json(response))

    async def save(self, number: int, name: str) -> tuple[int, int | None]:
        """Saves a slot; returns its tokens and its bytes, None if the build does not report these."""
        reply = await self._act(number, "save", name)
        return _whole(reply.get("n_saved")) or 0, _whole(reply.get("n_written"))

    async def restore(self, number: int, name: str) -> int:
        """Restores a slot; returns the number of tokens that the engine reports as restored."""
        reply = await self._act(number, "restore", name)
        return _whole(reply.get("n_restored")) or 0

    async def erase(self, number: int) -> None:
        """Clears a slot, also in the draft, which a restore does not touch.

        If the draft held other tokens, such as the warm-up, the next request would fail with 500 (b11434: `failed to
        process speculative batch`).
        """
        await self._act(number, "erase")

    async def _act(self, number: int, action: str, name: str = "") -> dict[str, Any]:
        body = {"filename": name} if name else {}
        response = await self._client.post(f"/slots/{number}?action={action}", json=body)
        if response.status_code != 200:
            raise _refused(response)
        return _object(_json(response))

    async def reused(self, number: int, tokens: Sequence[int]) -> int | None:
        """The number of these tokens that the slot need not read again; None if the engine does not report it.

        The engine reports the number before it reads, so a restore without effect costs one batch at most.
        """
        body = {
            # One more token: of a cached whole prompt llama-server would read a part again for the last one
            "prompt": [*tokens, tokens[-1]],
            "id_slot": number,
            "n_predict": 1,
            "stream": True,
            "return_progress": True,
            "cache_prompt": True,
        }
        async with self._client.stream("POST", "/completion", json=body) as response:
            if response.status_code != 200:
                await response.aread()
                raise _refused(response)
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                event = _object(_decoded(line.removeprefix("data: ")))
                progress, timings = _object(event.get("prompt_progress")), _object(event.get("timings"))
                if (cached := _whole(progress.get("cache"))) is not None:
                    return cached
                if (read := _whole(timings.get("prompt_n"))) is not None:
                    return max(0, len(tokens) + 1 - read)
        return None


def _scales(adapters: Any) -> dict[Any, Any]:
    rows = adapters if isinstance(adapters, list) else []
    return {row.get("id"): row.get("scale") for row in rows if isinstance(row, dict)}


def _refused(response: httpx2.Response) -> SlotsRefusedError:
    error = _object(_object(_json(response)).get("error"))
    words = str(error.get("message") or f"status {response.status_code}")
    return SlotsRefusedError(words, lasting=response.status_code in (404, 501))


def _json(response: httpx2.Response) -> Any:
    return _decoded(response.text)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
