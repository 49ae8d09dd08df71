"""A request under change. Pure."""

from __future__ import annotations

from typing import Any

from app.relay.amendments.answer import AmendedAnswer, AnswerChange
from app.relay.request.body import NULL, Routing
from app.relay.request.json_decode import decoded

NULL_TEXT = b"null"


class Draft:
    """Values to set, as JSON where they are bytes; fields to leave out; changes to the answer."""

    def __init__(self, path: str, fields: Routing, request_id: str, *, ours: bool) -> None:
        self.path = path
        self.fields = fields
        self.request_id = request_id
        self.ours = ours
        self.target = ""
        self.values: dict[str, Any] = {}
        self.drop: set[str] = set()
        self.changes: list[AnswerChange] = []
        self.answer: AmendedAnswer | None = None
        # Of several prompts their lengths, in whatever measure
        self.prompts: list[int] = []

    def value(self, name: str) -> Any:
        """As it is by now; None where it is left out."""
        if name in self.values:
            return self.values[name]
        raw = getattr(self.fields, name)
        return None if name in self.drop or raw is NULL else decoded(raw)

    def there(self, name: str) -> bool:
        """Whether the client has sent something; costs nothing where it has not."""
        raw = getattr(self.fields, name)
        return raw is not NULL and bytes(memoryview(raw)[:4]) != NULL_TEXT
