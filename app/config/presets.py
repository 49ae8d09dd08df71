"""Presets: further names on an entry's engine, with their own request defaults and system message."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.config.request_filters import LIMIT, Filters

# Tags with another meaning: speculation modes, and what Ollama's clients append
TAKEN = frozenset({"plain", "draft", "ngram", "latest"})
# As the names of files and Ollama's tags end in one
_QUANTIZATION = re.compile(r"(UD-)?(I?Q\d\w*|TQ\d\w*|MXFP\d\w*|NVFP\d\w*|BF16|FP?(16|32))", re.IGNORECASE)
_TAG = re.compile(r"\w[\w.-]*")
# Parts of `request:`, which a preset's keys are not
_PARTS = ("defaults", "fixed", "drop")
# Keys of an entry that a request knows as well, under the same name
_ALSO_FIELDS = frozenset({"top_p"})


def _check_tag(tag: str) -> str:
    if not _TAG.fullmatch(tag):
        raise ValueError(f"a preset's name must be letters, digits, or one of . _ -, not {tag!r}")
    if tag.lower() in TAKEN:
        raise ValueError(f"a preset may not be named {tag}: MODEL:{tag} has a meaning already")
    if _QUANTIZATION.fullmatch(tag):
        raise ValueError(f"a preset may not be named {tag}, which looks like a quantization")
    return tag


def _some_text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


class Preset(BaseModel):
    """The request defaults of one preset. `system` is for conversations without a system message."""

    model_config = ConfigDict(extra="allow", frozen=True)

    system: Annotated[str, AfterValidator(_some_text)] | None = Field(
        None, description="System message for conversations without one.", examples=["Think step by step."]
    )

    @property
    def defaults(self) -> dict[str, Any]:
        """Request fields by their names in the body."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _of_request_fields(self) -> Preset:
        for part in _PARTS:
            if part in self.defaults:
                raise ValueError(f"{part}: a preset's keys are defaults themselves; write {{temperature: 0.7}}")
        try:
            Filters(defaults=self.defaults)
        except ValidationError as error:
            problem = error.errors()[0]
            words = str(problem.get("ctx", {}).get("error", problem["msg"]))
            raise ValueError(words.removeprefix("defaults").lstrip(":. ")) from None
        return self


Presets = dict[Annotated[str, AfterValidator(_check_tag)], Preset]


def check_presets(presets: Mapping[str, Preset], request: Filters | None, of_engine: Collection[str]) -> None:
    """Raises ValueError for a key without effect: one of the engine's, or one that `request` sets already."""
    for tag, preset in presets.items():
        for name, value in preset.defaults.items():
            if name == "temp":
                raise ValueError(f"presets.{tag}.temp: requests call it temperature")
            if name in of_engine and name not in _ALSO_FIELDS:
                raise ValueError(f"presets.{tag}.{name}: is the engine's, which all presets share; make another entry")
            if request is None:
                continue
            for where in ("fixed", "drop"):
                if name in getattr(request, where):
                    raise ValueError(f"presets.{tag}.{name}: would do nothing, since request.{where} has it")
            if name == LIMIT and request.max_tokens is not None and value > request.max_tokens:
                raise ValueError(
                    f"presets.{tag}.{LIMIT}: {value} is above the cap, request.{LIMIT}: {request.max_tokens}"
                )


def filters_with(preset: Preset | None, request: Filters | None) -> Filters | None:
    """Returns the entry's request filters with those of a preset, or None if there are none."""
    if preset is None:
        return request
    if request is None:
        return Filters(defaults=preset.defaults)
    return request.model_copy(update={"defaults": {**request.defaults, **preset.defaults}})
