"""What becomes of each flag of llama.cpp's tools: a key of the entry, nothing, or an argument as it is.

Spellings, environment variables and who takes a value: `llama-server --help` of August 2025 and of b11434, and
common/arg.cpp of b11434 for the other tools. Flags that are in no table here are llama-server's own affair.
"""

from __future__ import annotations

from app.config.model_entry import GATEWAY_FLAGS, RESERVED_FLAGS
from app.config.speculation import MODES

TRUE = frozenset({"on", "enabled", "true", "1"})
FALSE = frozenset({"off", "disabled", "false", "0"})
CHOICES = TRUE | FALSE | {"auto", "-1"}

# Flags that name a model's files, or the keys inside `target`, `draft` and `mmproj`.
FILES: dict[str, str] = {
    **dict.fromkeys(("-m", "--model"), "target.path"),
    **dict.fromkeys(("-hf", "-hfr", "--hf-repo"), "target.repo"),
    **dict.fromkeys(("-hff", "--hf-file"), "target.file"),
    **dict.fromkeys(("-mu", "--model-url"), "target.url"),
    **dict.fromkeys(("-md", "--model-draft", "--spec-draft-model"), "draft.path"),
    **dict.fromkeys(("-mm", "--mmproj"), "mmproj.path"),
    **dict.fromkeys(("-mmu", "--mmproj-url"), "mmproj.url"),
    **dict.fromkeys(("-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf"), "draft.repo"),
}
# Options of speculation: spelling -> whose option it is, and its key. `draft` is whichever draft mode there is.
OPTIONS: dict[str, tuple[str, str]] = {
    flag: ("draft" if mode.family == "draft" else mode.name, key)
    for mode in MODES.values()
    for key, option in mode.options.items()
    for flag in option.flags
}
# In the first half of 2026 one set of flags served all n-gram modes, and --draft-max served every mode.
SHARED = "ngram"
OPTIONS |= {f"--spec-ngram-{key.replace('_', '-')}": (SHARED, key) for key in ("size_n", "size_m", "min_hits")}
OPTIONS |= dict.fromkeys(("--draft", "--draft-n", "--draft-max"), ("draft", "n_max"))
OPTIONS |= dict.fromkeys(("--draft-min", "--draft-n-min"), ("draft", "n_min"))
REMOVED_OPTIONS = {
    "--draft",
    "--draft-n",
    "--draft-max",
    "--draft-min",
    "--draft-n-min",
    "--spec-ngram-size-n",
    "--spec-ngram-size-m",
    "--spec-ngram-min-hits",
}

_PORT = (
    "the gateway's: it listens on `port` of tandem.yaml (8000), engines on the first free port from `engine_port` up"
)
_KEYS = "the gateway's: each engine gets a random key of its own; clients get theirs by `llama-tandem keys create`"
_CLIENTS = "llama-cli's own: here clients send their messages"
_TERMINAL = "llama-cli's own: here there is no terminal; `llama-tandem chat` has one"
_PRINTS = "prints something and ends: nothing to serve"
_TLS = "the gateway speaks plain HTTP to its engines; put TLS in front of the gateway"

# What an entry has no place for, and why: flags with a value, then switches.
_DROPPED_VALUES: dict[str, str] = {
    "--host": "the gateway's: set `host` in tandem.yaml; engines listen on loopback only",
    "--port": _PORT,
    "--api-key": _KEYS,
    "--api-key-file": _KEYS,
    "--api-prefix": "the gateway's: it answers at /v1, and its engines are not reached from elsewhere",
    **dict.fromkeys(("--ssl-key-file", "--ssl-cert-file"), _TLS),
    **dict.fromkeys(("-hft", "--hf-token"), "engines download nothing; `llama-tandem pull` logs in by HF_TOKEN"),
    # It would load another model than the entry's (b11434).
    **dict.fromkeys(("-dr", "--docker-repo"), "engines download nothing; name the file with --model"),
    "--models-preset": "its sections are the entries",
    "--models-dir": "only what tandem.yaml names is served",
    "--models-max": "the gateway's: `max_loaded` in tandem.yaml",
    **dict.fromkeys(("-p", "--prompt", "-f", "--file", "-bf", "--binary-file"), _CLIENTS),
    **dict.fromkeys(("-sys", "--system-prompt", "-sysf", "--system-prompt-file"), _CLIENTS),
    **dict.fromkeys(("--in-prefix", "--in-suffix", "--image", "--audio", "--video"), _CLIENTS),
    **dict.fromkeys(("-o", "--output", "--output-file", "--prompt-cache", "--server-base"), _TERMINAL),
    **dict.fromkeys(("-ptc", "--print-token-count"), _TERMINAL),
    **dict.fromkeys(("-n", "--predict", "--n-predict"), "llama-cli's own: here clients send max_tokens"),
    **dict.fromkeys(("-r", "--reverse-prompt"), "llama-cli's own: here clients send stop"),
}
_DROPPED_SWITCHES: dict[str, str] = {
    "--reuse-port": _PORT,
    **dict.fromkeys(("--models-autoload", "--no-models-autoload"), "every model is loaded when it is asked for"),
    **dict.fromkeys(("-i", "--interactive", "-if", "--interactive-first", "-ins", "--instruct", "--chatml"), _TERMINAL),
    **dict.fromkeys(("-cnv", "--conversation", "-no-cnv", "--no-conversation", "-st", "--single-turn"), _TERMINAL),
    **dict.fromkeys(("-mli", "--multiline-input", "--simple-io", "--in-prefix-bos"), _TERMINAL),
    **dict.fromkeys(("--prompt-cache-all", "--prompt-cache-ro", "--verbose-prompt"), _TERMINAL),
    **dict.fromkeys(("--display-prompt", "--no-display-prompt"), _TERMINAL),
    **dict.fromkeys(("--show-timings", "--no-show-timings"), _TERMINAL),
    **dict.fromkeys(("-h", "--help", "--usage", "--version", "--list-devices"), _PRINTS),
    **dict.fromkeys(("-cl", "--cache-list", "--completion-bash", "--license"), _PRINTS),
}
_COLOURS = dict.fromkeys(("-co", "--color"), _TERMINAL)
DROPPED = _DROPPED_VALUES | _DROPPED_SWITCHES | _COLOURS
# A server has them too, as limits for every request.
SERVERS_TOO = {"-n", "--predict", "--n-predict", "-r", "--reverse-prompt"}
SECRET = {"--api-key", "-hft", "--hf-token"}

# Switches in 2025, and since then followed by on, off or auto.
OPTIONAL = {"-fa", "--flash-attn", "--log-colors", *_COLOURS}
_PAIRS = {"--control-vector-layer-range": (2, 2), "--spec-replace": (2, 2)}
# Two words in 2025, FNAME:SCALE since.
SCALED = ("--lora-scaled", "--control-vector-scaled")
_PAIRS |= dict.fromkeys(SCALED, (1, 2))
_SWITCHES = {"--jinja", "--no-jinja", "--spec-default", *_DROPPED_SWITCHES}

# llama.cpp adds these up; of any other flag the last wins (PR 17940 warns about it).
REPEATABLE = {
    *("--lora", "--lora-scaled", "--control-vector", "--control-vector-scaled", "--override-kv", "--rpc", "--tags"),
    *("-ot", "--override-tensor", "-otd", "--override-tensor-draft", "--spec-draft-override-tensor"),
    *("--spec-replace", "--dry-sequence-breaker", "-l", "--logit-bias", "-r", "--reverse-prompt"),
    "--chat-template-kwargs",
}
# The launch writes --load-mode for them where a build has that instead.
LOADING = {"--mmap", "--no-mmap", "--mlock", "-dio", "--direct-io", "-ndio", "--no-direct-io"}

OURS = frozenset({*RESERVED_FLAGS, *GATEWAY_FLAGS, *DROPPED, *OPTIONS, *FILES})


def values_of(flag: str) -> tuple[int, int] | None:
    """The least and the most values behind `flag`; None for a flag that is in no table here."""
    if flag in OPTIONAL:
        return 0, 1
    if flag in _PAIRS:
        return _PAIRS[flag]
    if flag in _SWITCHES:
        return 0, 0
    if flag in LOADING:
        return 0, 0
    return (1, 1) if flag in OURS else None


# Variables whose flag is not the name in other letters.
_NAMED: dict[str, str] = {
    "LLAMA_API_KEY": "--api-key",
    "LLAMA_OFFLINE": "--offline",
    "LLAMA_CHAT_TEMPLATE_KWARGS": "--chat-template-kwargs",
    "LLAMA_LOG_COLORS": "--log-colors",
    "LLAMA_LOG_VERBOSITY": "--log-verbosity",
    "LLAMA_LOG_PREFIX": "--log-prefix",
    "LLAMA_LOG_TIMESTAMPS": "--log-timestamps",
    "LLAMA_ARG_BATCH": "--batch-size",
    "LLAMA_ARG_UBATCH": "--ubatch-size",
    "LLAMA_ARG_N_PARALLEL": "--parallel",
    "LLAMA_ARG_ROPE_SCALING_TYPE": "--rope-scaling",
    "LLAMA_ARG_HFD_REPO": "--hf-repo-draft",
    "LLAMA_ARG_STATIC_PATH": "--path",
    "LLAMA_ARG_THINK": "--reasoning-format",
    "LLAMA_ARG_THINK_BUDGET": "--reasoning-budget",
    "LLAMA_ARG_THINK_BUDGET_MESSAGE": "--reasoning-budget-message",
    "LLAMA_ARG_ENDPOINT_METRICS": "--metrics",
    "LLAMA_ARG_ENDPOINT_PROPS": "--props",
    "LLAMA_ARG_ENDPOINT_SLOTS": "--slots",
    "LLAMA_ARG_NO_ENDPOINT_SLOTS": "--no-slots",
    "LLAMA_ARG_SPEC_DRAFT_HF_REPO": "--spec-draft-hf",
    "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K": "--spec-draft-type-k",
    "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V": "--spec-draft-type-v",
    "LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT": "--checkpoint-min-step",
    "LLAMA_ARG_KV_SPLIT": "--kv-unified",
}
# Switches that have a variable. Those with a --no- form can be turned off by it as well.
NEGATABLE = {
    *("--jinja", "--mmap", "--perf", "--kv-offload", "--repack", "--log-jsonl", "--log-prefix", "--log-timestamps"),
    *("--kv-unified", "--cache-idle-slots", "--context-shift", "--cont-batching", "--mmproj-auto", "--mmproj-offload"),
    *("--cors-credentials", "--ui", "--webui", "--ui-mcp-proxy", "--agent", "--cache-prompt", "--slots", "--warmup"),
    *("--models-autoload", "--reasoning-preserve", "--skip-chat-parsing", "--prefill-assistant", "--op-offload"),
    "--spec-draft-backend-sampling",
}
ENV_SWITCHES = NEGATABLE | {
    *("--swa-full", "--cpu-moe", "--cpu-moe-draft", "--spec-draft-cpu-moe", "--offline", "--backend-sampling"),
    *("--embeddings", "--reranking", "--metrics", "--props", "--reuse-port", "--mlock", "--no-host", "--no-mmproj"),
    *(f"--no-{flag[2:]}" for flag in NEGATABLE),
}


def flag_of(variable: str) -> str | None:
    """The flag that an environment variable of llama.cpp stands for; None for any other variable."""
    if variable in _NAMED:
        return _NAMED[variable]
    name = variable.removeprefix("LLAMA_ARG_")
    return f"--{name.lower().replace('_', '-')}" if name and name != variable else None
