"""A body as an entry or a preset changes it."""

from __future__ import annotations

from typing import Any

import msgspec

from app.config.request_filters import Filters
from app.relay.request.body import Routing, routing
from app.relay.request.filters import Filter

CHAT = "/v1/chat/completions"


def filtered(body: str, path: str = CHAT, system: str | None = None, **written: Any) -> str:
    """What goes on; fails where what the relay knows of it is not what it would read there."""
    made = Filter(Filters.model_validate(written), system)
    content, fields = made.apply(path, body.encode(), routing(body.encode()))
    assert _texts(fields) == _texts(routing(content))
    return content.decode()


def _texts(fields: Routing) -> dict[str, Any]:
    named = {name: getattr(fields, name) for name in Routing.__struct_fields__}
    return {name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in named.items()}
