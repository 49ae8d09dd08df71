"""`/admin/models`: models that are added to a running gateway, until it stops."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.openapi_errors import ADMIN, Responses, refused
from app.auth.key_cache import Keyring
from app.auth.own_user import own_user_refusal
from app.config.ephemeral_entry import ephemeral_entry
from app.errors import ForbiddenError
from app.reload import Reloader

_ADD: Responses = {
    400: refused("The entry is invalid; nothing has changed"),
    403: refused("No admin key, or a field that only the gateway's own user may set"),
    409: refused("A model has this name"),
    **ADMIN,
}
_REMOVE: Responses = {
    400: refused("The model is in the settings file"),
    404: refused("No such model"),
    **ADMIN,
}


class NewModel(BaseModel):
    """`alias`, and the keys of an entry as in tandem.yaml."""

    model_config = ConfigDict(extra="allow")

    alias: str = Field(description="The name that clients send.", examples=["try"])
    target: Any = Field(description="The model's files.", examples=[{"repo": "unsloth/GLM-4.7-GGUF"}])


class AddedModel(BaseModel):
    alias: str
    entry: dict[str, Any] = Field(description="The entry, with the keys that `defaults` add.")
    warnings: list[str] = Field(default=[], description="Reasons why a start may fail.")


class AddedModels(BaseModel):
    object: str = "list"
    data: list[AddedModel]


def ephemeral_routes(reloader: Reloader, keys: Keyring) -> APIRouter:
    """Returns the routes to list, add and remove such models."""
    routes = APIRouter(prefix="/admin/models")

    @routes.get("", summary="Models that are not in the settings file", responses=ADMIN)
    async def every() -> AddedModels:
        return AddedModels(
            data=[AddedModel(alias=alias, entry=_fields(entry)) for alias, entry in reloader.ephemeral.items()]
        )

    @routes.post("", summary="Add a model until the gateway stops", status_code=201, responses=_ADD)
    async def add(model: NewModel, request: Request, response: Response) -> AddedModel:
        """A reload keeps it. Only the gateway's own user may set env, args and paths outside models_dir."""
        written = {**(model.model_extra or {}), "target": model.target}
        made = ephemeral_entry(model.alias, written, reloader.running)
        if made.takes_trust and (why := own_user_refusal(request.scope, keys)):
            raise ForbiddenError(
                f"{', '.join(made.takes_trust)}: only a command on this machine with the key in state_dir/admin.key "
                f"may set this. This request may not: {why}."
            )
        warnings = await reloader.add(made.alias, made.entry)
        response.headers["Location"] = f"/admin/models/{quote(made.alias)}"
        return AddedModel(alias=made.alias, entry=_fields(made.entry), warnings=list(warnings))

    @routes.delete("/{alias:path}", summary="Remove an added model", status_code=204, responses=_REMOVE)
    async def remove(alias: str) -> Response:
        """Its running requests are finished. New requests get 404."""
        await reloader.remove(alias)
        return Response(status_code=204)

    return routes


def _fields(entry: Any) -> dict[str, Any]:
    fields: dict[str, Any] = entry.model_dump(mode="json", exclude_unset=True)
    return fields
