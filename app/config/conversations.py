"""The setting `conversations`: limits of disk and age for the saved state of unloaded engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.config.types import Bytes, SomeSeconds
from app.units import DURATION_PATTERN, SIZE_PATTERN

_GIB = 2**30
# As YAML reads a bare `off` or `on`, and as people write them into the environment
_OFF, _ON = (False, "off", "false", "no", "0"), (True, "on", "true", "yes", "1")
_FORMS = "must be on, off, or {disk: 8GiB, keep: 24h}"
_FLAG = "--slot-save-path"


class ConversationLimits(BaseModel):
    """Limits of saved conversations: `disk` in bytes, `keep` in seconds. Without `on` nothing is saved."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    on: bool = Field(True, exclude=True)
    disk: Annotated[Bytes, Field(gt=0)] = 8 * _GIB
    keep: SomeSeconds = 24 * 3600

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        if isinstance(value, dict):
            if "on" in value:
                raise ValueError("has no key on; write conversations: off, or conversations: {disk: 8GiB, keep: 24h}")
            return value
        word = value.strip().lower() if isinstance(value, str) else value
        if isinstance(word, str) and word.startswith("{"):
            return _mapping(word)
        if isinstance(word, bool | str) and word in _OFF:
            return {"on": False}
        if isinstance(word, bool | str) and word in _ON:
            return {}
        if isinstance(value, cls):
            return value
        raise ValueError(f"{_FORMS}; not {value!r}")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Returns the forms that `_as_written` takes, for editors."""
        size = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": SIZE_PATTERN}]}
        time = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}]}
        limits = {"type": "object", "additionalProperties": False, "properties": {"disk": size, "keep": time}}
        return {"anyOf": [{"type": "boolean"}, {"enum": ["on", "off"]}, limits]}

    def __str__(self) -> str:
        return f"{{disk: {self.disk / _GIB:g}GiB, keep: {self.keep / 3600:g}h}}" if self.on else "off"


def _mapping(text: str) -> dict[str, Any]:
    """Reads the form of the environment: `{disk: 4GiB, keep: 2h}`, or JSON."""
    words: dict[str, Any] = {}
    for part in text.strip("{} ").split(","):
        key, colon, value = part.partition(":")
        if not colon:
            raise ValueError(f"{_FORMS}; not {text!r}")
        words[key.strip(" \"'")] = value.strip(" \"'")
    return words


def own_slot_folder(args: Sequence[str]) -> str:
    """Returns the flag of an entry that sets its own folder for saved slots, or an empty text."""
    for arg in args:
        # llama.cpp reads `--slot_save_path` as `--slot-save-path`
        if arg.partition("=")[0].replace("_", "-") == _FLAG:
            return arg.partition("=")[0]
    return ""
