"""A model's entry as written in `tandem.yaml`: types, limits, and the words for what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from app.config.between_keys import problems
from app.config.path_flags import path_values
from app.config.placed_error import PlacedError
from app.config.presets import Presets, check_presets
from app.config.request_filters import Filters
from app.config.short_forms import REPO, files_of
from app.config.speculation import AUTO, MODES, NONE, PLAIN, Chain, Step, longest_draft, parse_chain
from app.config.types import MOST, Argument, Float, Int, Location, Name, Root, Seconds, Size, Text, check_path, is_clean

# Flags of llama-server that an entry has a key for, or that the gateway owns: spelling -> key.
# Spellings as of b11434 and, where renamed since, of August 2025.
RESERVED_FLAGS: dict[str, str] = {
    **dict.fromkeys(("-m", "--model"), "target"),
    **dict.fromkeys(("-md", "--model-draft", "--spec-draft-model"), "draft"),
    **dict.fromkeys(("-devd", "--device-draft", "--spec-draft-device"), "draft.device"),
    **dict.fromkeys(("-cd", "--ctx-size-draft"), "draft.ctx_size"),
    **dict.fromkeys(("-mm", "--mmproj", "-mmu", "--mmproj-url"), "mmproj"),
    **dict.fromkeys(("-dev", "--device"), "device"),
    **dict.fromkeys(("-c", "--ctx-size"), "ctx_size"),
    **dict.fromkeys(("-np", "--parallel"), "parallel"),
    **dict.fromkeys(("-t", "--threads"), "threads"),
    **dict.fromkeys(("-fit", "--fit"), "fit"),
    "--prio": "prio",
    **dict.fromkeys(("--jinja", "--no-jinja"), "jinja"),
    **dict.fromkeys(("--temp", "--temperature"), "temp"),
    "--top-p": "top_p",
    **dict.fromkeys(("-a", "--alias"), "the entry's name"),
    **dict.fromkeys(("-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-mu", "--model-url"), "target"),
    **dict.fromkeys(("-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf"), "draft"),
    **dict.fromkeys(("--spec-type", "--spec-default"), "speculation"),
    **dict.fromkeys(("--draft", "--draft-n"), "speculation: {mode: draft-simple, n_max: ...}"),
    "--draft-n-min": "speculation: {mode: draft-simple, n_min: ...}",
    **{
        flag: f"speculation: {{mode: {mode.name}, {key}: ...}}"
        for mode in reversed(MODES.values())
        for key, option in mode.options.items()
        for flag in option.flags
    },
}
# The keys of an entry that name files.
FILE_KEYS = ("target", "draft", "mmproj")
# llama-server's own batch, on all builds looked at, and the flags that set it.
_BATCH, _BATCH_FLAGS = 2048, ("-b", "--batch-size")
# What the gateway decides for every engine; an entry has no say in it.
# TLS would shut out the gateway itself, which asks on loopback.
GATEWAY_FLAGS = frozenset(
    {
        "--host",
        "--port",
        "--api-key",
        "--api-key-file",
        "--api-prefix",
        "--reuse-port",
        "--ssl-key-file",
        "--ssl-cert-file",
    }
)


def _free(arg: str) -> str:
    """Raises ValueError for a flag that has a key, or that the gateway gives."""
    # llama.cpp's own parser reads `--ctx_size` as `--ctx-size`
    flag = arg.replace("_", "-") if arg.startswith("--") else arg
    if flag in GATEWAY_FLAGS:
        raise ValueError(f"{arg} is the gateway's to choose; leave it out")
    if flag in RESERVED_FLAGS:
        raise ValueError(f"{arg} has a key of its own: use {RESERVED_FLAGS[flag]}")
    return arg


class Written(BaseModel):
    """Unknown keys are errors: a misspelt key must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Files(Written):
    """Where a model's GGUF lies: a `path`, a Hub `repo` below `models_dir`, or an installed Python `package`.

    Of the last two `include` is a pattern, in any case, `quantization` what the file's name ends in.
    A text is short for a path or a repo.
    """

    path: Location | None = None
    repo: Annotated[str, Field(pattern=REPO)] | None = None
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*$")] | None = None
    include: Text | None = None
    quantization: Text | None = None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Measurements are kept by it: what an entry does not say may not change it
        return ((key, value) for key, value in super().__repr_args__() if (key, value) != ("quantization", None))

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return files_of(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> Files:
        sources = [k for k in ("path", "repo", "package") if getattr(self, k) is not None]
        if len(sources) != 1:
            problem = f"not {' and '.join(sources)} together" if sources else "none is given"
            raise ValueError(f"give one of path, repo, package; {problem}")
        if self.path is not None and self.include is not None:
            raise ValueError("include goes with repo or package; path names one file")
        if self.quantization is not None and (self.path is not None or self.include is not None):
            raise ValueError("quantization goes with repo or package, and without include")
        return self


class DraftFiles(Files):
    """The draft model, and what of it can differ from the target."""

    device: Text | None = None
    ctx_size: Size | None = None


class Speculation(Written):
    """What was asked for: a chain of modes, or `auto`, and what happens where it cannot be had.

    `chain` is None where the entry leaves the mode open: `auto`, or a mapping without a mode.
    """

    auto: bool = False
    chain: tuple[Step, ...] | None = None
    # Inert: asked for, and found not to work.
    on_inert: Literal["plain", "fail"] = "plain"
    # Load a draft that the headers say is incompatible.
    force: bool = False
    # Drafted tokens carry wrong log probabilities (b11434: 0.0).
    on_logprobs: Literal["reject", "plain", "pass"] = "reject"

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        written = dict(value) if isinstance(value, dict) else {"mode": value}
        own = {key: written.pop(key) for key in ("on_inert", "force", "on_logprobs") if key in written}
        mode = written.get("mode")
        if mode is False:  # YAML reads a bare `off` so
            mode = written["mode"] = NONE
        if mode == AUTO or not written:
            if len(written) > 1:
                raise ValueError(f"auto chooses its own options; leave out {', '.join(written.keys() - {'mode'})}")
            return {**own, "auto": mode == AUTO}
        if "mode" not in written:
            raise ValueError(f"{', '.join(written)} without a mode; add one, such as mode: draft-simple")
        if isinstance(mode, list | tuple) or mode == NONE:
            if len(written) > 1:
                raise ValueError("options go with their mode: [{mode: draft-simple, n_max: 8}, ngram-mod]")
            return {**own, "chain": _chain_below(mode, *(("mode",) if isinstance(value, dict) else ()))}
        return {**own, "chain": parse_chain(written if isinstance(value, dict) else mode)}


def _chain_below(written: Any, *keys: str) -> Chain:
    """Raises ValueError, with places that begin with `keys`."""
    try:
        return parse_chain(written)
    except PlacedError as error:
        raise error.below(*keys) from None


class LocalEntry(Written):
    """A model that this gateway starts an engine for. A key left out is left to llama-server."""

    target: Files
    draft: DraftFiles | None = None
    # The multimodal projector, for images and sound.
    mmproj: Files | None = None
    speculation: Speculation = Speculation()
    device: Text | None = None
    ctx_size: Size | None = None
    parallel: Annotated[Int, Field(ge=1, le=1024)] = 1
    threads: Annotated[Int, Field(ge=-1, le=MOST)] | None = None
    fit: bool | None = None
    prio: Annotated[Int, Field(ge=-1, le=3)] | None = None
    jinja: bool | None = None
    temp: Annotated[Float, Field(ge=0)] | None = None
    top_p: Annotated[Float, Field(ge=0, le=1)] | None = None
    args: tuple[Annotated[Argument, AfterValidator(_free)], ...] = ()
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Argument] = {}
    aliases: tuple[Name, ...] = ()
    request: Filters | None = None
    presets: Presets = {}
    # How long its engine stays idle; None for the setting's, 0 for ever
    ttl: Seconds | None = None
    # Neither `ttl` nor other models unload it
    pin: bool = False
    # Loaded when the gateway starts
    preload: bool = False
    # No other engine beside it
    exclusive: bool = False
    # Who gets a place first, and keeps it longest
    priority: Annotated[Int, Field(ge=-1000, le=1000)] = 0
    # Whether the first request for files that are not here brings them
    pull: Literal["never", "on_demand"] = "never"

    @field_validator("args")
    @classmethod
    def _paths_of_here(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        for path in path_values(args):
            check_path(path)
        return args

    @model_validator(mode="after")
    def _presets_of_requests(self) -> LocalEntry:
        check_presets(self.presets, self.request, LocalEntry.model_fields)
        return self

    @field_validator("threads")
    @classmethod
    def _some_threads(cls, threads: int | None) -> int | None:
        if threads == 0:
            raise ValueError("must be -1 (all) or at least 1")
        return threads

    @property
    def chain(self) -> Chain | None:
        """The modes to start with; None where `auto` is to choose. A draft given and nothing said is draft-simple."""
        if self.speculation.auto:
            return None
        if self.speculation.chain is not None:
            return self.speculation.chain
        return (Step("draft-simple"),) if self.draft else PLAIN

    @model_validator(mode="after")
    def _keys_go_together(self) -> LocalEntry:
        if found := self._between_keys():
            raise PlacedError([((), problem) for problem in found])
        return self

    def _between_keys(self) -> list[str]:
        return list(problems(self))

    def too_long(self, chain: Chain) -> str:
        """Why drafts as long as those of `chain` abort llama-server once every slot has one; empty where they fit."""
        batch, most = self._batch, longest_draft(chain)
        # `GGML_ASSERT(add_ok && "batch must be large enough to hold the sampled and draft tokens")`, b11434
        if not chain or self.parallel * (most + 1) <= batch:
            return ""
        slots = "one slot" if self.parallel == 1 else f"{self.parallel} slots"
        return (
            f"drafts of up to {most} tokens for {slots} do not fit into a batch of {batch}: llama-server would abort "
            f"in the midst of answers. {batch // self.parallel - 1} tokens is the most, or set --batch-size in args"
        )

    @property
    def _batch(self) -> int:
        sizes = [value for flag, value in zip(self.args, self.args[1:], strict=False) if flag in _BATCH_FLAGS]
        return int(sizes[-1]) if sizes and sizes[-1].isdecimal() else _BATCH


class _WhateverGoesTogether(LocalEntry):
    """For an entry of which some keys are wrong."""

    def _between_keys(self) -> list[str]:
        return []


def problems_beside(written: Mapping[str, Any], wrong: Collection[str]) -> Iterator[str]:
    """What is wrong between the other keys of a local entry."""
    good = {key: value for key, value in written.items() if key in LocalEntry.model_fields and key not in wrong}
    without_target = set() if "target" in good else {"target"}
    with suppress(ValidationError):
        entry = _WhateverGoesTogether.model_validate({"target": {"path": "any.gguf"}} | good)
        yield from problems(entry, {*wrong, *without_target})


class AttachedEntry(Written):
    """A server that others start; `model` is the name it is asked for, None to send the client's.

    `apis` are those besides chat completions that it speaks itself: they are relayed, the others translated.
    """

    url: Root
    model: Text | None = None
    apis: tuple[Literal["responses", "messages"], ...] = ()
    api_key: SecretStr | None = None
    aliases: tuple[Name, ...] = ()
    request: Filters | None = None
    presets: Presets = {}

    @model_validator(mode="after")
    def _presets_of_requests(self) -> AttachedEntry:
        check_presets(self.presets, self.request, ())
        return self

    @field_validator("api_key")
    @classmethod
    def _some_key(cls, api_key: SecretStr | None) -> SecretStr | None:
        if api_key is not None and not is_clean(api_key.get_secret_value().removeprefix("env:")):
            raise ValueError("must be a key, or env: and the name of a variable that holds one")
        return api_key


def _kind(value: Any) -> Literal["local", "attached"]:
    keys = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "attached" if "url" in keys else "local"


Entry = Annotated[
    Annotated[LocalEntry, Tag("local")] | Annotated[AttachedEntry, Tag("attached")],
    Discriminator(_kind),
]
