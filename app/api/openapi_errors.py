"""Adds errors to the OpenAPI page, since FastAPI does not know which errors an endpoint raises."""

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
    """OpenAI's error format."""

    error: ErrorFields


def refused(description: str) -> dict[str, Any]:
    """Returns an error for an endpoint's `responses`."""
    return {"model": ErrorBody, "description": description}


# For every endpoint under /admin. "4XX" replaces FastAPI's 422, which no client gets
ADMIN: Responses = {"4XX": refused("No admin key, a foreign host name, or a request of a web page")}
