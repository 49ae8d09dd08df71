"""Stores responses, each for its key and a limited time: the event loop's side of the store."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from app.api.responses.request import references
from app.api.responses.response import ResponsesWriter
from app.api.translated.fields import Fields
from app.auth.guard import KEY
from app.auth.key_cache import Keyring
from app.errors import PreviousResponseError, ResponseNotFoundError, TandemError
from app.records.responses import ResponseStore, StoredResponse

# A revoked key's responses are deleted within this time, expired ones within a second.
LOOK_EVERY_S, CLEAN_EVERY_S = 1.0, 60.0
_OF_ITEM = re.compile(r"[a-z]+_([0-9a-f]{48})\w*")
_NOTHING_KEPT = "this gateway stores no responses (responses_keep: 0). Send the whole conversation as input"
_DECODER = msgspec.json.Decoder(list[dict[str, Any]])


class ResponseKeeper:
    """Stored responses. `seconds` is the time after the last use in a conversation; 0 stores nothing."""

    def __init__(
        self, store: ResponseStore, keys: Keyring, *, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._keys = keys
        self.seconds = seconds
        self._clock = clock
        self._watching: asyncio.Task[None] | None = None

    @property
    def keeps(self) -> bool:
        return self.seconds > 0

    def keep(self, writer: ResponsesWriter, scope: Mapping[str, Any]) -> None:
        """Stores a response in the background."""
        if not (self.keeps and writer.request.store):
            return
        body = writer.body()
        response = StoredResponse(
            writer.response_id,
            owner_of(scope),
            self._clock() + self.seconds,
            body["previous_response_id"],
            msgspec.json.encode(with_ids(writer.request.items, writer.response_id)),
            msgspec.json.encode(body),
        )
        self._store.put(response)

    async def earlier(self, fields: Fields, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the items of the conversation that a request continues. Raises PreviousResponseError."""
        previous = fields.text("previous_response_id")
        if not previous:
            return []
        if not self.keeps:
            raise PreviousResponseError(f"'previous_response_id' cannot be used: {_NOTHING_KEPT}.")
        chain = await asyncio.to_thread(self._store.chain, previous, owner_of(scope))
        if isinstance(chain, str):
            since = "" if chain == previous else f" (which '{previous}' continues)"
            raise PreviousResponseError(
                f"'previous_response_id': response '{chain}'{since} not found. It was never stored for this key, "
                "was deleted, or has expired. Send the whole conversation as input."
            )
        return [item for response in chain for item in (*_items(response), *_body(response)["output"])]

    async def referred(self, items: list[Fields], scope: Mapping[str, Any]) -> dict[str, Any]:
        """Returns stored items by the ids that a request names."""
        found: dict[str, Any] = {}
        matches = [_OF_ITEM.fullmatch(item_id) for item_id in references(items)] if self.keeps else []
        # A request names many items of one response
        for response_id in dict.fromkeys(f"resp_{match[1]}" for match in matches if match):
            response = await asyncio.to_thread(self._store.get, response_id, owner_of(scope))
            if response is not None:
                found |= {item["id"]: item for item in (*_items(response), *_body(response)["output"])}
        return found

    async def body(self, response_id: str, scope: Mapping[str, Any]) -> bytes:
        """Returns a stored response. Raises ResponseNotFoundError."""
        return (await self._get(response_id, scope)).body

    async def items(self, response_id: str, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the input items of the conversation up to a response. Raises ResponseNotFoundError."""
        response = await self._get(response_id, scope)
        chain = await asyncio.to_thread(self._store.chain, response_id, owner_of(scope))
        if isinstance(chain, str):
            return _items(response)
        *before, last = chain
        earlier = [item for r in before for item in (*_items(r), *_body(r)["output"])]
        return [*earlier, *_items(last)]

    async def delete(self, response_id: str, scope: Mapping[str, Any]) -> None:
        """Deletes a response. Raises ResponseNotFoundError."""
        if not await asyncio.to_thread(self._store.delete, response_id, owner_of(scope)):
            raise ResponseNotFoundError(self._why_not(response_id))

    async def _get(self, response_id: str, scope: Mapping[str, Any]) -> StoredResponse:
        response = await asyncio.to_thread(self._store.get, response_id, owner_of(scope))
        if response is None:
            raise ResponseNotFoundError(self._why_not(response_id))
        return response

    def _why_not(self, response_id: str) -> str:
        if not self.keeps:
            return "This gateway stores no responses (responses_keep: 0)."
        return f"Response '{response_id}' not found. It was never stored for this key, was deleted, or has expired."

    # -- deletion ----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Deletes expired responses. Runs inside the loop."""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        known: Any = None
        cleaned = -CLEAN_EVERY_S
        while True:
            now = time.monotonic()
            if self._keys.known is not known or now - cleaned >= CLEAN_EVERY_S:
                with suppress(TandemError, OSError):
                    if await asyncio.to_thread(self._store.exists):
                        self._store.forget(self._owners())
                known, cleaned = self._keys.known, now
            await asyncio.sleep(LOOK_EVERY_S)

    def _owners(self) -> list[str]:
        return [key.digest.hex() for key in self._keys.valid()]

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.to_thread(self._store.close)


def owner_of(scope: Mapping[str, Any]) -> str:
    """Returns a response's owner: the key itself, since a later key may have its name. Empty without keys."""
    key = scope.get(KEY)
    return "" if key is None else key.digest.hex()


def with_ids(items: list[dict[str, Any]], response_id: str) -> list[dict[str, Any]]:
    """Returns input items in the listed form: each with an id, messages in parts."""
    listed = []
    for number, item in enumerate(items):
        kind = item.get("type") or "message"
        whole = {"type": kind} | item
        whole["id"] = item.get("id") or f"{'msg' if kind == 'message' else 'item'}_{response_id[5:]}in{number:02}"
        if kind == "message" and isinstance(item.get("content"), str):
            part = "output_text" if item.get("role") == "assistant" else "input_text"
            more: dict[str, Any] = {"annotations": []} if part == "output_text" else {}
            whole["content"] = [{"type": part, "text": item["content"]} | more]
        if kind == "message":
            whole.setdefault("status", "completed")
        listed.append(whole)
    return listed


def _items(response: StoredResponse) -> list[dict[str, Any]]:
    return _DECODER.decode(response.items)


def _body(response: StoredResponse) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(response.body)
    return body
