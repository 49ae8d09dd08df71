"""`/admin/hub`: models on the Hub, and which of them fit this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.openapi_errors import ADMIN, Responses, refused
from app.config.settings import Settings
from app.scheduler.memory_book import MemoryBook

Text = Annotated[str, Query(min_length=1, max_length=200, description="Part of a repo's name.", examples=["qwen3"])]
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of repos, most downloaded first.")]
Context = Annotated[int, Query(ge=256, le=1 << 24, description="Context size of the estimate, in tokens.")]
Drafts = Annotated[bool, Query(description="Also find compatible draft models. This downloads more headers.")]
_HUB: Responses = {400: refused("The Hub lacks it or cannot be reached; the message says which"), **ADMIN}


def hub_routes(settings: Callable[[], Settings], memory: MemoryBook) -> APIRouter:
    """Returns the routes. Only their requests call the Hub."""
    routes = APIRouter(prefix="/admin/hub")

    @routes.get("/search", summary="Repos with GGUF files", responses=_HUB)
    async def search(text: Text, limit: Limit = 20) -> dict[str, Any]:
        return {"object": "list", "data": await asyncio.to_thread(_search, text, limit)}

    @routes.get("/repos/{repo:path}", summary="The quantizations of a repo, and which of them fit", responses=_HUB)
    async def repo(repo: str, context: Context = 8192, drafts: Drafts = False) -> dict[str, Any]:
        """Compares footprints with memory: fits, fits without draft, does not fit, or unknown."""
        await memory.look()
        return await asyncio.to_thread(_offers, settings(), repo, memory.budgets(), context, drafts)

    return routes


def _search(text: str, limit: int) -> list[dict[str, Any]]:
    from app.models.hub.client import Hub  # late: huggingface_hub takes half a second

    return [asdict(found) for found in Hub().search(text, limit)]


def _offers(settings: Settings, repo: str, budgets: dict[str, int], context: int, drafts: bool) -> dict[str, Any]:
    from app.models.gguf.filenames import parse_hub_name
    from app.models.hub.client import Hub
    from app.pulls.offers import offers_of

    name = parse_hub_name(repo).repo
    return offers_of(settings, name, Hub(), budgets, context=context, drafts=drafts).fields()
