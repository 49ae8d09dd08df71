"""The FastAPI part: models, health, metrics, and the OpenAPI page, which also lists relayed endpoints."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from app.api.admin_examples import add_examples
from app.api.formats.openai import no_such_route
from app.api.formats.select import ApiFormats
from app.api.formats.status_codes import HttpError, http_error, text
from app.api.messages.models import asks_in_this_shape, page_of, shown_model
from app.api.models import ModelRows
from app.api.routes import CHANGES, GETS, HEALTH, OLLAMA, POSTS
from app.auth.guard import may_use
from app.config.messages import reason
from app.errors import InvalidBodyError, TandemError
from app.records.metrics import Metrics
from app.relay.request.body import ClientDisconnectedError
from app.scheduler.loop import Scheduler
from app.web.files import INDEX, page_files


def create_api(
    *, rows: ModelRows, scheduler: Scheduler, metrics: Metrics, version: str, more: tuple[APIRouter, ...]
) -> FastAPI:
    """Creates the FastAPI app. Relayed paths are dispatched before it."""
    api = FastAPI(title="llama-tandem", version=version, openapi_url="/openapi.json", docs_url=None, redoc_url=None)

    @api.get("/", summary="Name and version")
    async def root() -> dict[str, str]:
        return {"name": "llama-tandem", "version": version, "api": "/v1", "docs": "/docs"}

    @api.get("/redoc", include_in_schema=False)
    @api.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        # Browsers get the page from `dispatch`, with its headers
        return Response(page_files()[INDEX].content, media_type="text/html")

    @api.get("/metrics", summary="Prometheus metrics")
    async def prometheus() -> Response:
        from app.api.prometheus import exposition  # 67 ms of imports, only for scrapers

        return Response(exposition(metrics, scheduler), media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/models", include_in_schema=False)
    @api.get("/v1/models", summary="List models, without loading any")
    async def models(request: Request, variants: bool = False) -> dict[str, Any]:
        listed = await rows.listed(variants=variants, may=may_use(request.scope))
        if asks_in_this_shape(request.scope["headers"]):
            return page_of(listed, request.query_params)
        return {"object": "list", "data": listed}

    @api.get("/models/{alias:path}", include_in_schema=False)
    @api.get("/v1/models/{alias:path}", summary="Get a model by any of its names")
    async def model(request: Request, alias: str) -> dict[str, Any]:
        row = rows.get(alias, may_use(request.scope))
        return shown_model(row, alias) if asks_in_this_shape(request.scope["headers"]) else row

    for routes in more:
        api.include_router(routes)
    _errors_in_shape(api)
    _describe_what_comes_before(api, version)
    return api


def _errors_in_shape(api: FastAPI) -> None:
    """Formats errors in the API format of their path."""
    api_formats = ApiFormats()

    def answer(request: Request, message: str, known: HttpError, headers: Any = None) -> Response:
        body = api_formats.of(request.url.path, request.scope["headers"]).body(message, known)
        return Response(body, known.status, dict(headers or {}), media_type="application/json")

    @api.exception_handler(TandemError)
    @api.exception_handler(Exception)  # Starlette raises it again after the response, so that it is logged
    async def failed(request: Request, error: Exception) -> Response:
        return answer(request, text(error), http_error(error))

    @api.exception_handler(ClientDisconnectedError)
    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # The client has left, so no one reads the response

    @api.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # FastAPI's own error, for a body that is not text
            return await failed(request, InvalidBodyError(f"{error.detail}."))
        known, message = no_such_route(request.method, request.url.path, error.status_code, error.headers)
        return answer(request, message, known, error.headers)

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["loc"] == ("body",) or first["type"] == "json_invalid":
            is_json = "json" in request.headers.get("content-type", "")
            how = "" if is_json else ", sent as Content-Type application/json"
            return await failed(request, InvalidBodyError(f"The body must be a JSON object{how}."))
        param = str(first["loc"][-1])
        known = HttpError(400, "invalid_request_error", "invalid_parameter", param=param)
        words = "must be true or false" if first["type"].startswith("bool") else reason(first)
        return answer(request, f"'{param}' {words}.", known)


def _describe_what_comes_before(api: FastAPI, version: str) -> None:
    """Adds the operations to the OpenAPI page that are answered before FastAPI."""

    def schema() -> dict[str, Any]:
        if api.openapi_schema is None:
            page = get_openapi(title=api.title, version=version, routes=api.routes)
            answer = {"responses": {"200": {"description": "The engine's answer"}}}
            body = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
            for path in sorted(POSTS):
                how = "Translated" if path.removeprefix("/v1").startswith(("/responses", "/messages")) else "Relayed"
                page["paths"][path] = {"post": {"summary": f"{how} by `model`", "requestBody": body, **answer}}
            for path in OLLAMA:
                page["paths"][path] = {"post": {"summary": "Ollama's API, by `model`", "requestBody": body, **answer}}
            for path in sorted(GETS):
                query = {"name": "model", "in": "query", "schema": {"type": "string"}}
                page["paths"][path] = {"get": {"summary": "Relayed by `?model=`", "parameters": [query], **answer}}
            for path in sorted(CHANGES):
                page["paths"][path]["post"] = {"summary": "Relayed by `?model=`; needs an admin key", **answer}
            healthy = {"responses": {"200": {"description": "The gateway is up"}}}
            page["paths"][HEALTH] = {"get": {"summary": "The gateway is up", **healthy}}
            add_examples(page)
            api.openapi_schema = page
        return api.openapi_schema

    api.openapi = schema  # type: ignore[method-assign]
