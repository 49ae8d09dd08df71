"""`POST /admin/reload`: reads the settings again and applies them."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.openapi_errors import ADMIN, refused
from app.reload import Reloader


class ReloadView(BaseModel):
    """The changes: names of models, then of settings."""

    changed: list[str] = Field(description="Models whose entry has changed.")
    added: list[str] = Field(description="New models.")
    removed: list[str] = Field(description="Removed models. Their running requests are finished.")
    restarted: list[str] = Field(description="Models and variants whose engine restarts after its running requests.")
    settings: list[str] = Field(description="Other settings that apply now.")
    restart_needed: list[str] = Field(description="Changed settings that apply after a restart of the gateway.")
    warnings: list[str] = Field(description="Models that cannot start with these settings, and why.")


def reload_routes(reloader: Reloader) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix="/admin")

    @routes.post(
        "/reload",
        summary="Reload the settings and apply the changes",
        responses={400: refused("The settings are invalid; nothing has changed"), **ADMIN},
    )
    async def reload() -> ReloadView:
        """The command line and the environment of the gateway's start still override the file."""
        return ReloadView(**(await reloader.reload("POST /admin/reload")).fields())

    return routes
