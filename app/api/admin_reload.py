"""`POST /admin/reload`: the settings are read again and applied."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.openapi_errors import ADMIN, refused
from app.reload import Reloader


class ReloadView(BaseModel):
    """Names of models, then of settings."""

    changed: list[str] = Field(description="Models whose entry differs, in whatever.")
    added: list[str] = Field(description="Models that can be asked for from now on.")
    removed: list[str] = Field(description="Models that finish their answers and are unknown to new requests.")
    restarted: list[str] = Field(description="Models and variants whose engine finishes its answers and starts again.")
    settings: list[str] = Field(description="Other settings that hold from now on.")
    restart_needed: list[str] = Field(description="Settings that differ and hold from the next start on.")
    warnings: list[str] = Field(description="Models that cannot start as they are written now, and why.")


def reload_routes(reloader: Reloader) -> APIRouter:
    """One route."""
    routes = APIRouter(prefix="/admin")

    @routes.post(
        "/reload",
        summary="Read the settings again and apply what differs",
        responses={400: refused("The settings cannot be used; nothing has changed"), **ADMIN},
    )
    async def reload() -> ReloadView:
        """What the command line and the environment of the gateway say goes on to win over the file."""
        return ReloadView(**(await reloader.reload("POST /admin/reload")).fields())

    return routes
