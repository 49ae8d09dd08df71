"""The table of llama.cpp's flags and what each one becomes, and the environment variables of flags.

Sources: `llama-server --help` of August 2025 and of b11434 for spellings, variables and values; common/arg.cpp of
b11434 for the other tools. Flags outside the table pass to llama-server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.config.reserved_flags import RESERVED_FLAGS
from app.config.speculation import MODES

TRUE = frozenset({"on", "enabled", "true", "1"})
FALSE = frozenset({"off", "disabled", "false", "0"})
CHOICES = TRUE | FALSE | {"auto", "-1"}

# The minimum and maximum number of values after a flag.
SWITCH, ONE, TWO = (0, 0), (1, 1), (2, 2)
# A switch in 2025, and since then followed by on, off or auto.
OPTIONAL = (0, 1)
# Two words in 2025, FNAME:SCALE since.
SCALED = (1, 2)


@dataclass(frozen=True, slots=True)
class KnownFlag:
    """A flag: `slot` is the part of an entry that it sets, `dropped` why it is left out. Others go into `args`.

    A slot is `target.path` and similar, a key, `name`, `speculation`, or an option of it, `MODE/KEY`. Of several flags
    for one slot the last wins. `values` are the minimum and maximum number, or None if only the build knows.
    """

    slot: str = ""
    dropped: str = ""
    values: tuple[int, int] | None = ONE
    # A limit in llama-cli, which a server applies to every request
    on_servers_too: bool = False
    secret: bool = False
    # An option that today's builds refuse
    removed: bool = False
    # llama.cpp joins several; of any other flag the last wins (PR 17940 warns about it)
    joins_values: bool = False
    # The note for a flag that stays in `args`
    note: str = ""

    @property
    def stays_in_args(self) -> bool:
        return not (self.slot or self.dropped)


# The modes of an option: any draft mode; in the first half of 2026, every n-gram mode.
DRAFT, NGRAM = "draft", "ngram"


def _flags(names: str, like: KnownFlag) -> dict[str, KnownFlag]:
    return dict.fromkeys(names.split(), like)


_PORT = KnownFlag(
    dropped="the gateway's: it listens on `port` of tandem.yaml (8000), engines on the first free port from "
    "`engine_port` up"
)
_KEY = KnownFlag(
    dropped="the gateway's: each engine gets a random key of its own; clients get theirs by `llama-tandem keys create`"
)
_TLS = KnownFlag(dropped="the gateway speaks plain HTTP to its engines; put TLS in front of the gateway")
_CLIENTS = KnownFlag(dropped="llama-cli's own: here clients send their messages")
_TERMINAL = KnownFlag(dropped="llama-cli's own: here there is no terminal; `llama-tandem chat` has one")
_TERMINALS_SWITCH = replace(_TERMINAL, values=SWITCH)
_PRINTS = KnownFlag(dropped="prints something and exits: nothing to serve", values=SWITCH)
_AUTOLOAD = KnownFlag(dropped="every model is loaded on first request", values=SWITCH)
_LOADING = KnownFlag(values=SWITCH, note="kept in args: builds with --load-mode get that instead")

FLAGS: dict[str, KnownFlag] = {
    # Keys of an entry
    **{flag: KnownFlag(key) for flag, key in RESERVED_FLAGS.items()},
    **_flags("--jinja --no-jinja", KnownFlag("jinja", values=SWITCH)),
    **_flags("-a --alias", KnownFlag("name")),
    # Its files
    **_flags("-m --model", KnownFlag("target.path")),
    **_flags("-hf -hfr --hf-repo", KnownFlag("target.repo")),
    **_flags("-hff --hf-file", KnownFlag("target.file")),
    **_flags("-mu --model-url", KnownFlag("target.url")),
    **_flags("-md --model-draft --spec-draft-model", KnownFlag("draft.path")),
    **_flags("-hfd -hfrd --hf-repo-draft --spec-draft-hf", KnownFlag("draft.repo")),
    **_flags("-mm --mmproj", KnownFlag("mmproj.path")),
    **_flags("-mmu --mmproj-url", KnownFlag("mmproj.url")),
    # Speculation
    "--spec-type": KnownFlag("speculation", joins_values=True),
    "--spec-default": KnownFlag("speculation", values=SWITCH, joins_values=True),
    **{
        flag: KnownFlag(f"{DRAFT if mode.family == 'draft' else mode.name}/{key}")
        for mode in MODES.values()
        for key, option in mode.options.items()
        for flag in option.flags
    },
    **_flags("--draft --draft-n --draft-max", KnownFlag(f"{DRAFT}/n_max", removed=True)),
    **_flags("--draft-min --draft-n-min", KnownFlag(f"{DRAFT}/n_min", removed=True)),
    "--spec-ngram-size-n": KnownFlag(f"{NGRAM}/size_n", removed=True),
    "--spec-ngram-size-m": KnownFlag(f"{NGRAM}/size_m", removed=True),
    "--spec-ngram-min-hits": KnownFlag(f"{NGRAM}/min_hits", removed=True),
    # The gateway's
    "--host": KnownFlag(dropped="the gateway's: set `host` in tandem.yaml; engines listen on loopback only"),
    "--port": _PORT,
    "--reuse-port": replace(_PORT, values=SWITCH),
    "--api-key": replace(_KEY, secret=True),
    "--api-key-file": _KEY,
    "--api-prefix": KnownFlag(
        dropped="the gateway's: it answers at /v1, and its engines are not reached from elsewhere"
    ),
    **_flags("--ssl-key-file --ssl-cert-file", _TLS),
    **_flags(
        "-hft --hf-token",
        KnownFlag(dropped="engines download nothing; `llama-tandem pull` logs in by HF_TOKEN", secret=True),
    ),
    # It would load a model other than the entry's (b11434).
    **_flags("-dr --docker-repo", KnownFlag(dropped="engines download nothing; name the file with --model")),
    # A router's
    "--models-preset": KnownFlag(dropped="its sections are the entries"),
    "--models-dir": KnownFlag(dropped="its models are entries"),
    "--models-max": KnownFlag(dropped="the gateway's: `max_loaded` in tandem.yaml"),
    **_flags("--models-autoload --no-models-autoload", _AUTOLOAD),
    # llama-cli's
    **_flags("-p --prompt -f --file -bf --binary-file -sys --system-prompt -sysf --system-prompt-file", _CLIENTS),
    **_flags("--in-prefix --in-suffix --image --audio --video", _CLIENTS),
    **_flags(
        "-n --predict --n-predict",
        KnownFlag(dropped="llama-cli's own: here clients send max_tokens", on_servers_too=True),
    ),
    **_flags(
        "-r --reverse-prompt",
        KnownFlag(dropped="llama-cli's own: here clients send stop", on_servers_too=True, joins_values=True),
    ),
    **_flags("-o --output --output-file --prompt-cache --server-base -ptc --print-token-count", _TERMINAL),
    **_flags("-co --color", replace(_TERMINAL, values=OPTIONAL)),
    **_flags(
        "-i --interactive -if --interactive-first -ins --instruct --chatml -cnv --conversation", _TERMINALS_SWITCH
    ),
    **_flags("-no-cnv --no-conversation -st --single-turn -mli --multiline-input --simple-io", _TERMINALS_SWITCH),
    **_flags("--in-prefix-bos --prompt-cache-all --prompt-cache-ro --verbose-prompt", _TERMINALS_SWITCH),
    **_flags("--display-prompt --no-display-prompt --show-timings --no-show-timings", _TERMINALS_SWITCH),
    **_flags("-h --help --usage --version --list-devices -cl --cache-list --completion-bash --license", _PRINTS),
    # Flags that stay in `args`
    **_flags("-fa --flash-attn --log-colors", KnownFlag(values=OPTIONAL)),
    **_flags("--lora-scaled --control-vector-scaled", KnownFlag(values=SCALED, joins_values=True)),
    "--control-vector-layer-range": KnownFlag(values=TWO),
    "--spec-replace": KnownFlag(values=TWO, joins_values=True),
    **_flags("--mmap --no-mmap --mlock -dio --direct-io -ndio --no-direct-io", _LOADING),
    **_flags(
        "--lora --control-vector --override-kv --rpc --tags -ot --override-tensor -otd --override-tensor-draft "
        "--spec-draft-override-tensor --dry-sequence-breaker -l --logit-bias --chat-template-kwargs",
        KnownFlag(values=None, joins_values=True),
    ),
}
_UNKNOWN = KnownFlag(values=None)


def known(flag: str) -> KnownFlag:
    """Returns the table's row, or for another flag one that stays in `args`."""
    return FLAGS.get(flag, _UNKNOWN)


# Variables whose name does not match their flag.
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
    """Returns the flag of an llama.cpp environment variable, or None for any other variable."""
    if variable in _NAMED:
        return _NAMED[variable]
    name = variable.removeprefix("LLAMA_ARG_")
    return f"--{name.lower().replace('_', '-')}" if name and name != variable else None
