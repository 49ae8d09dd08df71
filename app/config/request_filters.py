"""The key `request:` of an entry: default, cap, fix or drop fields of requests."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Names of the token limit in several APIs. An entry has `max_tokens`.
LIMIT = "max_tokens"
LIMITS = (LIMIT, "max_completion_tokens", "n_predict", "max_output_tokens")
# Fields that the gateway itself reads. Filters must not change them.
_OURS = {"model": "an entry's name is what it is asked by", "stream": "clients say how they want to be answered"}


class Filters(BaseModel):
    """Changes to requests: `defaults` fill missing fields, `fixed` replaces, `drop` removes, `max_tokens` caps.

    All apply to the top level of a JSON body. Values are any JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    defaults: dict[str, Any] = Field(
        {}, description="Values for fields that the client leaves out.", examples=[{"temperature": 0.7}]
    )
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="Upper limit of tokens, also applied when the client sets none.", examples=[4096]
    )
    fixed: dict[str, Any] = Field({}, description="Values that replace the client's.", examples=[{"seed": 1}])
    drop: tuple[str, ...] = Field((), description="Fields to remove.", examples=[["top_k"]])

    @model_validator(mode="after")
    def _of_json(self) -> Filters:
        for where, values in (("defaults", self.defaults), ("fixed", self.fixed)):
            for name, value in values.items():
                if not _is_json(value):
                    raise ValueError(f"{where}.{name}: {value!r} cannot be sent as JSON; put it in quotes")
        return self

    @model_validator(mode="after")
    def _of_fields_that_are_free(self) -> Filters:
        named = [("defaults", n) for n in self.defaults] + [("fixed", n) for n in self.fixed]
        seen: dict[str, str] = {}
        for where, name in [*named, *(("drop", name) for name in self.drop)]:
            if name in _OURS:
                raise ValueError(f"{where}: {name} is not to be changed: {_OURS[name]}")
            if name in LIMITS and name != LIMIT:
                raise ValueError(f"{where}: write {LIMIT} for {name}; each API gets it by its own name")
            if (other := seen.setdefault(name, where)) != where:
                raise ValueError(f"{name} is set in both `{other}` and `{where}`; remove one of them")
        return self

    @model_validator(mode="after")
    def _within_the_cap(self) -> Filters:
        for where, values in (("defaults", self.defaults), ("fixed", self.fixed)):
            tokens = values.get(LIMIT, 1)
            if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
                raise ValueError(f"{where}.{LIMIT}: must be a whole number from 1 on, not {tokens!r}")
            if self.max_tokens is not None and tokens > self.max_tokens:
                raise ValueError(f"{where}.{LIMIT}: {tokens} is above the cap, max_tokens: {self.max_tokens}")
        return self


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(inner) for name, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)
