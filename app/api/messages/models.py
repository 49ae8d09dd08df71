"""Converts `/v1/models` to Anthropic's format, for clients that send `anthropic-version`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.errors import InvalidBodyError

VERSION = b"anthropic-version"
# Anthropic's own default and limit of a page
_PAGE, _LARGEST_PAGE = 20, 1000


def asks_in_this_shape(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tells whether a request for models comes from an Anthropic client."""
    return any(name == VERSION for name, _ in headers)


def shown_model(row: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Converts one row of OpenAI's list. `name` is the requested name."""
    created = datetime.fromtimestamp(row["created"], UTC).isoformat().replace("+00:00", "Z")
    model = {"type": "model", "id": name or row["id"], "display_name": row["id"], "created_at": created}
    more = {"max_input_tokens": row.get("context_length"), "max_tokens": row.get("context_length")}
    return model | {"lifecycle": "active"} | more


def page_of(rows: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """Returns the part selected by `limit`, `after_id` and `before_id`. Raises InvalidBodyError."""
    ids = [row["id"] for row in rows]
    limit = _limit(query.get("limit", str(_PAGE)))
    first, end = 0, len(rows)
    if (after := query.get("after_id")) is not None:
        first = _place(ids, after, "after_id") + 1
    if (before := query.get("before_id")) is not None:
        end = _place(ids, before, "before_id")
        first = max(first, end - limit)
    page = rows[first : min(first + limit, end)]
    more = first > 0 if before is not None else first + limit < end
    data = [shown_model(row) for row in page]
    edges = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": more} | edges


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_PAGE:
        raise InvalidBodyError(f"'limit' must be a whole number from 1 to {_LARGEST_PAGE}.", param="limit")
    return int(text)


def _place(ids: Sequence[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise InvalidBodyError(f"'{name}': model '{wanted}' not found.", param=name)
    return ids.index(wanted)
