"""`/ui/session`: the page's session. `/admin/links`: one-time links for administrators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app import version
from app.api.openapi_errors import ADMIN, refused
from app.auth.guard import KEY, Guard, presented
from app.auth.key_cache import Keyring
from app.auth.keys import ApiKey
from app.auth.sessions import LINK_LIVES, Sessions, from_our_page, set_cookie
from app.errors import ForbiddenError, UnauthorizedError


class BeginSession(BaseModel):
    """The secret of a one-time link. Without it, the request's own key begins the session."""

    model_config = ConfigDict(extra="forbid")

    link: str | None = Field(None, max_length=200, description="The text after `#link=` in the link.")


class SessionView(BaseModel):
    """`key` is the name of the session's key, or null without a session."""

    version: str
    key: str | None
    admin: bool = Field(description="Whether `/admin` answers this page.")
    key_needed: bool = Field(description="Whether a request needs a key here.")


class LinkView(BaseModel):
    link: str = Field(description="The secret: the page's address is `/ui#link=SECRET`.", examples=["pFz0...k"])
    expires_in: float = Field(description="Seconds.", examples=[60.0])


def session_routes(keys: Keyring, sessions: Sessions, guard: Guard) -> APIRouter:
    """Returns the routes. A session is a cookie, and counts only in requests of our own page."""
    routes = APIRouter()

    def view(request: Request, key: ApiKey | None) -> SessionView:
        admin = key is not None and key.admin and guard.reaches_admin(request.scope)
        name = key.name if key is not None else None
        return SessionView(version=version(), key=name, admin=admin, key_needed=keys.required)

    def own_key(request: Request) -> ApiKey | None:
        for secret in presented(request.scope["headers"]):
            if (key := keys.find(secret)) is not None:
                return key
            raise UnauthorizedError("Invalid API key (unknown, revoked or expired).")
        return None

    @routes.get("/ui/session", summary="The key that the page uses")
    async def who(request: Request) -> SessionView:
        return view(request, own_key(request) or sessions.key_of(request.scope))

    @routes.post(
        "/ui/session",
        summary="Begin a session, by a one-time link or a key",
        responses={401: refused("No such link or key"), 403: refused("The request is from another page")},
    )
    async def begin(body: BeginSession, request: Request, response: Response) -> SessionView:
        if not from_our_page(request.scope):
            raise ForbiddenError("Only the gateway's own page may begin a session.")
        if body.link is not None:
            secret, key = sessions.exchange(body.link)
        elif (key_sent := own_key(request)) is not None:
            secret, key = sessions.begin(key_sent), key_sent
        else:
            raise UnauthorizedError("Send a link's secret, or a key as 'Authorization: Bearer KEY'.")
        response.headers["Set-Cookie"] = set_cookie(request.scope, secret).decode()
        return view(request, key)

    @routes.delete(
        "/ui/session", summary="End the session", responses={403: refused("The request is from another page")}
    )
    async def end(request: Request, response: Response) -> dict[str, Any]:
        if not from_our_page(request.scope):
            raise ForbiddenError("Only the gateway's own page may end its session.")
        sessions.end(request.scope["headers"])
        response.headers["Set-Cookie"] = set_cookie(request.scope, "").decode()
        return {"ended": True}

    @routes.post("/admin/links", summary="A one-time link to the page", responses=ADMIN)
    async def link(request: Request) -> LinkView:
        """The link opens one session for the requesting key."""
        return LinkView(link=sessions.link(request.scope[KEY]), expires_in=LINK_LIVES)

    return routes
