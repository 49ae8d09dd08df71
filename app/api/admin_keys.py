"""`/admin/keys`: create, list and revoke the keys of clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from app.api.openapi_errors import ADMIN, Responses, refused
from app.auth.key_cache import LOOK_EVERY_S, Keyring
from app.auth.key_store import KeyStore
from app.auth.keys import ApiKey, new_key, new_secret
from app.errors import ConfigError, InvalidBodyError

# Seconds to wait until a change takes effect. A slower change is still made
_LOOKS = 30
_KEYS: Responses = {400: refused("The request is invalid; the message says why"), **ADMIN}
KeyName = Annotated[str, Path(description="The name of a key.", examples=["laptop"])]
Limit = Annotated[int | None, Field(ge=1, le=10**9)]


class NewKey(BaseModel):
    """The options of `llama-tandem keys create`, without admin keys, which only that command creates."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(description="Up to 64 letters, digits, or one of . _ - @", examples=["laptop"])
    models: list[str] | None = Field(None, description="Patterns of allowed models (default: all).")
    rpm: Limit = Field(None, description="Maximum requests per minute.")
    tpm: Limit = Field(None, description="Maximum tokens per minute.")
    concurrency: Limit = Field(None, description="Maximum concurrent requests.")
    expires: str = Field("never", description="Lifetime: 90d, 12h, 1y, or never.", examples=["90d"])


class KeyView(BaseModel):
    """Times are in seconds since 1970. Null means no limit."""

    name: str
    models: list[str]
    admin: bool
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    created: float
    expires: float | None
    valid: bool


class CreatedKey(KeyView):
    key: str = Field(description="The key itself. It is shown only once, since only its hash is stored.")
    first: bool = Field(description="Whether this is the first key: from now on, every request needs one.")


def key_routes(store: KeyStore, keys: Keyring) -> APIRouter:
    """Returns the routes. A change takes effect before the response."""
    routes = APIRouter(prefix="/admin/keys")

    @routes.get("", summary="The keys, without their secrets", responses=ADMIN)
    async def every() -> dict[str, Any]:
        rows = await asyncio.to_thread(store.all)
        return {"object": "list", "data": [_view(key) for key in rows if key.revoked is None]}

    @routes.post("", summary="Create a key", status_code=201, responses=_KEYS)
    async def make(asked: NewKey) -> CreatedKey:
        """After the first key, every client needs one."""
        first, secret = not keys.required, new_secret()
        with _in_words():
            models = None if asked.models is None else ",".join(asked.models)
            limits = {"rpm": asked.rpm, "tpm": asked.tpm, "concurrency": asked.concurrency}
            key = new_key(secret, asked.name, limits, models=models, expires=asked.expires)
            await asyncio.to_thread(store.add, key)
        await _counts(lambda: keys.find(secret.encode()) is not None)
        return CreatedKey(**_view(key), key=secret, first=first and keys.required)

    @routes.delete("/{name:path}", summary="Revoke a key", responses=_KEYS)
    async def revoke(name: KeyName) -> dict[str, Any]:
        """Its sessions end, too."""
        with _in_words():
            await asyncio.to_thread(store.revoke, name, time.time())
        await _counts(lambda: all(key.name != name for key in keys.known))
        return {"name": name, "revoked": True}

    return routes


async def _counts(true: Callable[[], bool]) -> None:
    """Waits until the keys in use have been read again."""
    for _ in range(_LOOKS):
        if true():
            return
        await asyncio.sleep(LOOK_EVERY_S / 5)


def _view(key: ApiKey) -> dict[str, Any]:
    fields = {name: getattr(key, name) for name in ("name", "admin", "rpm", "tpm", "concurrency", "created", "expires")}
    return fields | {"models": list(key.models), "valid": key.valid(time.time())}


@contextmanager
def _in_words() -> Iterator[None]:
    """Converts errors of the command line to errors of the request, with the names of its fields."""
    try:
        yield
    except ConfigError as error:
        raise InvalidBodyError(str(error).replace("--", "")) from None
