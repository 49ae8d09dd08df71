"""Serves the page's files over HTTP, before keys are checked and before FastAPI is built."""

from __future__ import annotations

from app.auth.guard import PAGE, asks_for_page
from app.relay.headers import Headers
from app.relay.request.body import Message
from app.relay.request.scope import Scope, header
from app.relay.response.writer import Send
from app.web.files import INDEX, PageFile, page_files

# No content of other sites, no inline code, and no frame around this page. Images and recordings that a user adds to
# a message are the browser's own (`blob:`, `data:`).
_POLICY = (
    b"default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
    # `/` is JSON for programs
    (b"vary", b"accept"),
]


def page_file(scope: Scope) -> PageFile | None:
    """Returns the requested file, or None for every other request."""
    if scope["method"] not in ("GET", "HEAD") or not asks_for_page(scope):
        return None
    path: str = scope["path"]
    name = path.removeprefix(f"{PAGE}/") if path.startswith(f"{PAGE}/") else INDEX
    return page_files().get(name)


async def send_page(scope: Scope, send: Send, file: PageFile) -> int:
    """Sends the file, or 304 to a browser that has it. Returns the status."""
    known = file.etag in [tag.strip().removeprefix(b"W/") for tag in _seen(scope["headers"])]
    headers = [*_HEADERS, (b"etag", file.etag)]
    if not known:
        headers += [(b"content-type", file.media_type), (b"content-length", str(len(file.content)).encode())]
    status = 304 if known else 200
    body = b"" if known or scope["method"] == "HEAD" else file.content
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return status


def _seen(headers: Headers) -> list[bytes]:
    return header(headers, b"if-none-match").split(b",")
