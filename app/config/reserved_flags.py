"""Flags of llama-server that `args` may not hold, since a key or the gateway sets them. Pure."""

from __future__ import annotations

from app.config.speculation import MODES

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
# Flags that the gateway sets for every engine.
# TLS would lock out the gateway itself, which uses plain HTTP on loopback.
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


def check_free(arg: str) -> str:
    """Raises ValueError for a flag that has a key, or that the gateway sets."""
    # llama.cpp's own parser reads `--ctx_size` as `--ctx-size`
    flag = arg.replace("_", "-") if arg.startswith("--") else arg
    if flag in GATEWAY_FLAGS:
        raise ValueError(f"{arg} is the gateway's to choose; leave it out")
    if flag in RESERVED_FLAGS:
        raise ValueError(f"{arg} has a key of its own: use {RESERVED_FLAGS[flag]}")
    return arg
