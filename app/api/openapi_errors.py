"""Adds errors to the OpenAPI page: FastAPI knows what an endpoint returns, not what it raises."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Responses = dict[int | str, dict[str, Any]]


class ErrorFields(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's shape."""

    error: ErrorFields


def refused(description: str) -> dict[str, Any]:
    """One of an endpoint's `responses`."""
    return {"model": ErrorBody, "description": description}


# Of every endpoint under /admin. "4XX" replaces FastAPI's 422, which no client gets
ADMIN: Responses = {"4XX": refused("No admin key, a foreign host name, or a request of a web page")}
