"""Applies an entry's `request:` to the bytes of a body: drop, fix, default and cap fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.config.request_filters import LIMIT, LIMITS, Filters
from app.relay.request.body import Routing
from app.relay.request.json_edit import edited, fields_of
from app.relay.request.system_prompt import SystemPrompt

# By path that generates text: the fields that limit tokens there (b11434), the usual one first.
_OPENAI, _NATIVE = (LIMIT, "max_completion_tokens", "n_predict"), ("n_predict", LIMIT)
_LIMIT_AT = {
    "/v1/chat/completions": _OPENAI,
    "/v1/completions": _OPENAI,
    "/v1/responses": ("max_output_tokens",),
    "/v1/messages": (LIMIT,),
    "/completion": _NATIVE,
    "/infill": _NATIVE,
}
_NULL = b"null"


class Filter:
    """Compiled filters, applied in this order: drop, fixed, defaults, system (of a preset), cap."""

    def __init__(self, written: Filters, system: str | None = None) -> None:
        self._system = SystemPrompt(system) if system is not None else None
        self._most = written.max_tokens
        self._fixed_limit: int | None = written.fixed.get(LIMIT)
        self._default_limit: int | None = written.defaults.get(LIMIT, written.max_tokens)
        self._fixed = _encoded(written.fixed)
        self._defaults = _encoded(written.defaults)
        self._drop = frozenset(written.drop) | (frozenset(LIMITS) if LIMIT in written.drop else frozenset())

    def apply(self, path: str, body: bytes, routing: Routing) -> tuple[bytes, Routing]:
        """Returns the edited body and its routing. `path` is the upstream's path. A null field counts as missing."""
        fields = fields_of(body)
        texts = [(field.name, body[field.value : field.end]) for field in fields if field.name not in self._drop]
        # A body may contain a key twice. Both are changed, since parsers differ on which one counts.
        non_null = [(name, text) for name, text in texts if text != _NULL]
        present = {name for name, _ in non_null}
        values = {name: value for name, value in self._defaults.items() if name not in present}
        if self._system is not None:
            values = self._system.fields(path, dict(non_null)) | values
        values |= self._fixed | self._limits(_LIMIT_AT.get(path, ()), non_null)
        return edited(body, values, self._drop, fields), routing.edited(values, self._drop)

    def _limits(self, names: tuple[str, ...], non_null: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
        """Returns the token limits to set. A request without a limit gets the default, or else the cap itself."""
        if not names:
            return {}
        limit_fields = [(name, text) for name, text in non_null if name in LIMITS]
        values: dict[str, bytes] = {}
        if self._fixed_limit is not None:
            values = {name: b"%d" % self._fixed_limit for name, _ in limit_fields}
        elif self._most is not None:
            values = {name: b"%d" % self._most for name, text in limit_fields if not _within(text, self._most)}
        missing = self._fixed_limit or self._default_limit
        if missing is not None and not any(name in names for name, _ in limit_fields):
            values[names[0]] = b"%d" % missing
        return values


def _encoded(fields: Mapping[str, object]) -> dict[str, bytes]:
    """Encodes fields except the token limit, whose name depends on the path."""
    return {name: msgspec.json.encode(value) for name, value in fields.items() if name != LIMIT}


def _within(text: bytes, most: int) -> bool:
    """Tells whether a limit is a number up to `most`. llama-server treats a negative or invalid limit as unlimited."""
    try:
        return 0 <= float(text) <= most
    except ValueError:
        return False
