"""A request while it is being amended. Pure."""

from __future__ import annotations

from typing import Any

from app.relay.amendments.answer import AmendedAnswer, AnswerChange
from app.relay.request.body import NULL, Routing
from app.relay.request.json_decode import decoded

NULL_TEXT = b"null"


class Draft:
    """Values to set (bytes are JSON), fields to drop, and changes of the answer."""

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
        # The length of each of several prompts, in characters or tokens
        self.prompts: list[int] = []

    def value(self, name: str) -> Any:
        """The present value; None for a dropped field."""
        if name in self.values:
            return self.values[name]
        raw = getattr(self.fields, name)
        return None if name in self.drop or raw is NULL else decoded(raw)

    def has(self, name: str) -> bool:
        """Whether the client has sent the field with a value; cheap if it has not."""
        raw = getattr(self.fields, name)
        return raw is not NULL and bytes(memoryview(raw)[:4]) != NULL_TEXT
