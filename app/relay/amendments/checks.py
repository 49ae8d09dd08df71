"""Refuses fields that llama-server ignores or misreads for their type or range, and moves `enable_thinking`. Pure.

It looks only at requests with a field that the decoder did not know as right.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from app.errors import InvalidBodyError
from app.relay.amendments.draft import Draft
from app.relay.request.body import KEPT_AS_BYTES, NULL
from app.relay.request.field_types import FIELD_TYPES, FieldType
from app.relay.request.json_decode import decoded

# Checked here if they are set, since the relay keeps them as bytes
_KEPT = tuple(name for name in KEPT_AS_BYTES if any(name in kinds for kinds in FIELD_TYPES.values()))
_kept = attrgetter(*_KEPT)


def check_kept_fields(draft: Draft) -> None:
    """Raises InvalidBodyError for the first wrong field among those that the relay reads itself."""
    for name, text in zip(_KEPT, _kept(draft.fields), strict=True):
        if text is not NULL and (kind := FIELD_TYPES.get(draft.path, {}).get(name)) is not None and draft.has(name):
            _refuse(name, kind, draft.value(name))


def check_fields(draft: Draft, body: bytes) -> None:
    """Raises InvalidBodyError for the first wrong field."""
    fields = decoded(body)
    kinds = FIELD_TYPES.get(draft.path, {})
    for name, value in fields.items():
        if value is not None and (kind := kinds.get(name)) is not None:
            _refuse(name, kind, value)
    if fields.get("json_schema") is not None:
        _one_grammar(draft, fields.get("grammar"))
    if "enable_thinking" in kinds:
        _think(draft, fields)


def _refuse(name: str, kind: FieldType, value: Any) -> None:
    if (error := kind.error_in(value)) is not None:
        place = f"{name}{error[0]}"
        raise InvalidBodyError(f"'{place}' {error[1]}.", param=place)


def _one_grammar(draft: Draft, grammar: Any) -> None:
    """Completions ignore a schema beside any grammar."""
    if grammar == "":
        draft.drop.add("grammar")
    elif grammar is not None:
        raise InvalidBodyError("'grammar' cannot be combined with a schema; leave one of them out.", param="grammar")


def _think(draft: Draft, fields: dict[str, Any]) -> None:
    """Puts `enable_thinking` where templates read it. Some clients send it beside the messages."""
    values, beside = fields.get("chat_template_kwargs") or {}, fields.get("enable_thinking")
    within = values.get("enable_thinking")
    wanted = beside if within is None else within
    kept = {name: value for name, value in values.items() if name != "enable_thinking"}
    kept |= {} if wanted is None else {"enable_thinking": wanted}
    if kept != values:
        draft.values["chat_template_kwargs"] = kept
    if "enable_thinking" in fields:
        draft.drop.add("enable_thinking")
