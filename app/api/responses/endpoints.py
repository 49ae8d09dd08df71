"""`/v1/responses/{id}`: stored responses, for the key that requested them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.api.responses.keeper import ResponseKeeper
from app.errors import InvalidBodyError


def kept_response_routes(keeper: ResponseKeeper) -> APIRouter:
    """Returns the routes, with `/v1` and without."""
    routes = APIRouter()

    @routes.get("/responses/{response_id}", include_in_schema=False)
    @routes.get("/v1/responses/{response_id}", summary="Get a stored response")
    async def get(request: Request, response_id: str, stream: bool = False) -> Response:
        if stream:
            raise InvalidBodyError("'stream' is not supported: a stored response is sent as a whole.", param="stream")
        return Response(await keeper.body(response_id, request.scope), media_type="application/json")

    @routes.delete("/responses/{response_id}", include_in_schema=False)
    @routes.delete("/v1/responses/{response_id}", summary="Delete a stored response")
    async def delete(request: Request, response_id: str) -> dict[str, Any]:
        await keeper.delete(response_id, request.scope)
        return {"id": response_id, "object": "response", "deleted": True}

    @routes.get("/responses/{response_id}/input_items", include_in_schema=False)
    @routes.get("/v1/responses/{response_id}/input_items", summary="The input items of a stored response")
    async def input_items(
        request: Request,
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> dict[str, Any]:
        items = await keeper.items(response_id, request.scope)
        if order == "desc":
            items.reverse()
        ids = [item["id"] for item in items]
        if after is not None and after not in ids:
            raise InvalidBodyError(f"'after': this response has no item '{after}'.", param="after")
        start = 0 if after is None else ids.index(after) + 1
        page = items[start : start + limit]
        first, last = (page[0]["id"], page[-1]["id"]) if page else ("", "")
        more = start + limit < len(items)
        return {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more}

    @routes.post("/responses/{response_id}/cancel", include_in_schema=False)
    @routes.post("/v1/responses/{response_id}/cancel", summary="Always refused: no response runs in the background")
    async def cancel(response_id: str) -> None:
        raise InvalidBodyError(
            "Only background responses can be cancelled, and this gateway has none. Close the connection instead."
        )

    @routes.post("/responses/compact", include_in_schema=False)
    @routes.post("/v1/responses/compact", summary="Always refused: conversations are not compacted")
    async def compact() -> None:
        raise InvalidBodyError("The gateway does not compact conversations. Send a shorter input.")

    return routes
