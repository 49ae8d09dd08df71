"""The fallback: llama-server's flags mapped by a table onto the fields of `xllamacpp.CommonParams`.

For wheels whose own parser cannot be called. It knows what launch plans emit and the common rest; its `--help` lists
exactly that, in llama-server's layout, so that it is probed like any binary. Fields and their quirks were seen
with xllamacpp 2026.10.11549.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# (xllamacpp module, CommonParams, the value)
Setter = Callable[[Any, Any, str], None]


class InvalidFlagError(Exception):
    """A command line that is refused, in llama-server's words."""


@dataclass(frozen=True, slots=True)
class MappedFlag:
    """`values` is empty for a switch."""

    names: tuple[str, ...]
    values: str
    text: str
    put: Setter
    env: str = ""


def _at(path: str) -> Callable[[Any], tuple[Any, str]]:
    *parents, name = path.split(".")

    def find(params: Any) -> tuple[Any, str]:
        for parent in parents:
            params = getattr(params, parent)
        return params, name

    return find


def _field(path: str, convert: Callable[[str], Any] = str) -> Setter:
    find = _at(path)
    return lambda _, params, value: setattr(*find(params), convert(value))


def _constant(path: str, constant: Any) -> Setter:
    return _field(path, lambda _: constant)


def _enum(path: str, enum: str, prefix: str, others: dict[str, str] | None = None) -> Setter:
    find = _at(path)

    def put(module: Any, params: Any, value: str) -> None:
        kinds = getattr(module, enum)
        name = prefix + (others or {}).get(value, value).upper().replace("-", "_")
        if not hasattr(kinds, name):
            raise ValueError(f"unknown value: {value}")
        setattr(*find(params), getattr(kinds, name))

    return put


def _onoff(value: str) -> bool:
    if value.lower() in ("on", "true", "1", "enabled"):
        return True
    if value.lower() in ("off", "false", "0", "disabled"):
        return False
    raise ValueError(f"unknown value: {value}")


def _sampling(name: str, convert: Callable[[str], Any], bit: int) -> Setter:
    def put(_: Any, params: Any, value: str) -> None:
        setattr(params.sampling, name, convert(value))
        # Without its bit a value that the model's own metadata recommends would win.
        params.sampling.user_sampling_config |= bit

    return put


def _threads(_: Any, params: Any, value: str) -> None:
    # As a field, -1 would mean the physical cores; as a flag it means all.
    params.cpuparams.n_threads = int(value) if int(value) > 0 else os.cpu_count() or 1


def _priority(module: Any, params: Any, value: str) -> None:
    params.cpuparams.priority = module.ggml_sched_priority(int(value))


def _context(_: Any, params: Any, value: str) -> None:
    params.n_ctx = int(value)
    if params.n_ctx == 0:
        params.fit_params_min_ctx = -1  # 0 asks for the model's own context, which --fit must then not shrink


def _speculation(module: Any, params: Any, value: str) -> None:
    kinds, types = module.common_speculative_type, []
    for mode in value.split(","):
        name = f"COMMON_SPECULATIVE_TYPE_{mode.upper().replace('-', '_')}"
        if not hasattr(kinds, name):
            raise ValueError(f"unknown speculative type: {mode}")
        types.append(getattr(kinds, name))
    params.speculative.types = types


def _layers(value: str) -> int:
    return {"auto": -1, "all": -2}.get(value) or int(value)


def _folder(value: str) -> str:
    return value if value.endswith("/") else value + "/"


def _timeout(_: Any, params: Any, value: str) -> None:
    params.timeout_read = params.timeout_write = int(value)


def _cors(_: Any, params: Any, value: str) -> None:
    params.cors_origins = value
    params.cors_origins_explicit = True


def _lora(module: Any, params: Any, value: str) -> None:
    params.lora_adapters = [*params.lora_adapters, module.CommonAdapterLoraInfo(value, 1.0)]


def _rerank(module: Any, params: Any, _: str) -> None:
    params.embedding = True
    params.pooling_type = module.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def _aliases(_: Any, params: Any, value: str) -> None:
    params.model_alias = {name.strip() for name in value.split(",") if name.strip()}


def _list(value: str) -> list[str]:
    return [part for part in value.split(",") if part]


_TYPES = "f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1"
_SPEC = (
    "none,draft-simple,draft-eagle3,draft-mtp,draft-dflash,ngram-simple,ngram-map-k,ngram-map-k4v,ngram-mod,ngram-cache"
)
_NGRAMS = ("simple", "map-k", "map-k4v")


def _ngram_flags() -> list[MappedFlag]:
    flags = [
        MappedFlag(
            (f"--spec-ngram-mod-{name}",), "N", text, _field(f"speculative.ngram_mod.{name.replace('-', '_')}", int)
        )
        for name, text in (("n-match", "lookup length"), ("n-min", "shortest draft"), ("n-max", "longest draft"))
    ]
    for kind in _NGRAMS:
        field = f"speculative.ngram_{kind.replace('-', '_')}"
        for name, text in (("size-n", "lookup n-gram"), ("size-m", "draft m-gram"), ("min-hits", "minimum hits")):
            put = _field(f"{field}.{name.replace('-', '_')}", int)
            flags.append(MappedFlag((f"--spec-ngram-{kind}-{name}",), "N", text, put))
    return flags


def _switch(path: str, on: tuple[str, ...], off: tuple[str, ...], text: str, default: bool) -> list[MappedFlag]:
    note = f"{text} (default: {'enabled' if default else 'disabled'})"
    flags = [MappedFlag(on, "", note, _constant(path, True))] if on else []
    return [*flags, MappedFlag(off, "", note, _constant(path, False))] if off else flags


FLAGS: tuple[MappedFlag, ...] = (
    MappedFlag(("-m", "--model"), "FNAME", "model path to load", _field("model.path")),
    MappedFlag(("-a", "--alias"), "STRING", "set model name aliases, comma-separated", _aliases),
    MappedFlag(("-t", "--threads"), "N", "number of CPU threads (default: -1)", _threads),
    MappedFlag(("--prio",), "N", "priority: low(-1), normal(0), medium(1), high(2), realtime(3)", _priority),
    MappedFlag(("-c", "--ctx-size"), "N", "size of the prompt context (default: 0, 0 = loaded from model)", _context),
    MappedFlag(("-n", "--predict", "--n-predict"), "N", "number of tokens to predict", _field("n_predict", int)),
    MappedFlag(("-b", "--batch-size"), "N", "logical maximum batch size", _field("n_batch", int)),
    MappedFlag(("-ub", "--ubatch-size"), "N", "physical maximum batch size", _field("n_ubatch", int)),
    MappedFlag(("--keep",), "N", "tokens to keep from the initial prompt", _field("n_keep", int)),
    MappedFlag(("-np", "--parallel"), "N", "number of server slots", _field("n_parallel", int)),
    MappedFlag(("-fit", "--fit"), "[on|off]", "adjust unset arguments to fit in memory", _field("fit_params", _onoff)),
    MappedFlag(
        ("-fa", "--flash-attn"),
        "[on|off|auto]",
        "set Flash Attention use",
        _enum(
            "flash_attn_type", "llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_", {"on": "enabled", "off": "disabled"}
        ),
    ),
    MappedFlag(
        ("-ctk", "--cache-type-k"), "TYPE", f"KV cache K: {_TYPES}", _enum("cache_type_k", "ggml_type", "GGML_TYPE_")
    ),
    MappedFlag(
        ("-ctv", "--cache-type-v"), "TYPE", f"KV cache V: {_TYPES}", _enum("cache_type_v", "ggml_type", "GGML_TYPE_")
    ),
    MappedFlag(
        ("-lm", "--load-mode"),
        "MODE",
        # read as llama-server's own description is: one `- mode: words` after the other
        "- auto: the default - none: nothing - mmap: map the file - mlock: keep it in RAM - mmap+mlock: both "
        "- dio: DirectIO",
        _enum("load_mode", "llama_load_mode", "LLAMA_LOAD_MODE_", {"mmap+mlock": "mmap_mlock", "dio": "direct_io"}),
    ),
    MappedFlag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "N", "layers in VRAM", _field("n_gpu_layers", _layers)),
    MappedFlag(("--lora",), "FNAME", "path to a LoRA adapter; may be repeated", _lora),
    MappedFlag(("-mm", "--mmproj"), "FILE", "path to a multimodal projector file", _field("mmproj.path")),
    MappedFlag(
        ("-s", "--seed"), "SEED", "RNG seed (default: -1)", _field("sampling.seed", lambda v: int(v) & 0xFFFFFFFF)
    ),
    MappedFlag(("--temp", "--temperature"), "N", "temperature", _sampling("temp", float, 64)),
    MappedFlag(("--top-k",), "N", "top-k sampling", _sampling("top_k", int, 2)),
    MappedFlag(("--top-p",), "N", "top-p sampling", _sampling("top_p", float, 4)),
    MappedFlag(("--min-p",), "N", "min-p sampling", _sampling("min_p", float, 8)),
    MappedFlag(
        ("--spec-draft-model", "-md", "--model-draft"),
        "FNAME",
        "draft model for speculative decoding",
        _field("speculative.draft.mparams.path"),
    ),
    MappedFlag(("--spec-type",), _SPEC, "types of speculative decoding to use (default: none)", _speculation),
    MappedFlag(("--spec-draft-n-max",), "N", "tokens to draft", _field("speculative.draft.n_max", int)),
    MappedFlag(("--spec-draft-n-min",), "N", "minimum number of draft tokens", _field("speculative.draft.n_min", int)),
    MappedFlag(
        ("--spec-draft-p-min", "--draft-p-min"), "P", "minimum probability", _field("speculative.draft.p_min", float)
    ),
    MappedFlag(
        ("--spec-draft-device", "-devd", "--device-draft"),
        "<dev1,dev2,..>",
        "devices to offload the draft model to",
        _field("speculative.draft.devices"),
    ),
    MappedFlag(
        ("--spec-draft-ngl", "-ngld", "--gpu-layers-draft"),
        "N",
        "draft model layers in VRAM",
        _field("speculative.draft.n_gpu_layers", _layers),
    ),
    *_ngram_flags(),
    MappedFlag(("--host",), "HOST", "addresses to listen on, comma-separated", _field("hostnames", _list)),
    MappedFlag(("--port",), "PORT", "port to listen on (default: 8080)", _field("port", int)),
    MappedFlag(("--api-key",), "KEY", "API keys, comma-separated", _field("api_keys", _list), env="LLAMA_API_KEY"),
    MappedFlag(("-to", "--timeout"), "N", "server read/write timeout in seconds", _timeout),
    MappedFlag(("--sse-ping-interval",), "N", "seconds between SSE pings", _field("sse_ping_interval", int)),
    MappedFlag(("--cors-origins",), "ORIGINS", "allowed origins for CORS", _cors),
    MappedFlag(("--slot-save-path",), "PATH", "path to save slot kv cache", _field("slot_save_path", _folder)),
    MappedFlag(("--chat-template",), "JINJA_TEMPLATE", "custom chat template", _field("chat_template")),
    MappedFlag(
        ("--chat-template-file",),
        "JINJA_TEMPLATE_FILE",
        "custom chat template, from a file",
        _field("chat_template", lambda path: Path(path).read_text(encoding="utf-8")),
    ),
    MappedFlag(
        ("--reasoning-format",),
        "FORMAT",
        "none, deepseek, deepseek-legacy, auto",
        _enum("reasoning_format", "common_reasoning_format", "COMMON_REASONING_FORMAT_"),
    ),
    MappedFlag(
        ("--pooling",),
        "{none,mean,cls,last,rank}",
        "pooling type for embeddings",
        _enum("pooling_type", "llama_pooling_type", "LLAMA_POOLING_TYPE_"),
    ),
    MappedFlag(("--reranking", "--rerank"), "", "enable the reranking endpoint (default: disabled)", _rerank),
    *_switch("embedding", ("--embedding", "--embeddings"), (), "only support embeddings", False),
    *_switch("use_jinja", ("--jinja",), ("--no-jinja",), "use jinja templates for chat", True),
    *_switch("warmup", ("--warmup",), ("--no-warmup",), "warm up with an empty run", True),
    *_switch("ui", ("--ui", "--webui"), ("--no-ui", "--no-webui"), "enable the Web UI", True),
    *_switch("endpoint_metrics", ("--metrics",), (), "prometheus compatible metrics endpoint", False),
    *_switch("endpoint_props", ("--props",), (), "changing properties via POST /props", False),
    *_switch("endpoint_slots", ("--slots",), ("--no-slots",), "slots monitoring endpoint", True),
)


def help_page() -> str:
    """In llama-server's layout: names from column 0, the description from column 40 or on the next line."""
    lines = ["----- params of the embedded engine, by table -----", ""]
    entries = [("-h, --help, --usage", "print usage and exit"), ("--version", "show version and exit")]
    entries += [(f"{', '.join(flag.names)} {flag.values}".strip(), flag.text) for flag in FLAGS]
    for head, text in entries:
        lines += [f"{head:<40}{text}"] if len(head) < 40 else [head, " " * 40 + text]
    return "\n".join(lines) + "\n"


def apply(module: Any, params: Any, argv: Sequence[str], environ: dict[str, str]) -> None:
    """Writes the flags into `params`; raises InvalidFlagError in llama-server's words."""
    known = {name: flag for flag in FLAGS for name in flag.names}
    for flag in FLAGS:
        if flag.env and (value := environ.get(flag.env)):
            flag.put(module, params, value)
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        # llama.cpp's own parser takes --ctx_size for --ctx-size
        mapped = known.get("--" + word[2:].replace("_", "-") if word.startswith("--") else word)
        if mapped is None:
            raise InvalidFlagError(f"error: invalid argument: {word}")
        if mapped.values and not rest:
            raise InvalidFlagError(f'error while handling argument "{word}": expected value for argument')
        try:
            mapped.put(module, params, rest.pop(0) if mapped.values else "")
        except (ValueError, OverflowError, OSError) as error:
            raise InvalidFlagError(f'error while handling argument "{word}": {error}') from None
        except AttributeError:
            # another wheel, without that field
            raise InvalidFlagError(f"error: invalid argument: {word}") from None
