"""Reads the chat template that an entry's engine uses: the entry's own, else the file's."""

from __future__ import annotations

from pathlib import Path

from app.config.model_entry import LocalEntry
from app.models.gguf.header import Header

KEY = "tokenizer.chat_template"
_TEXT, _FILE = "--chat-template", "--chat-template-file"
_VARIABLES = {"LLAMA_ARG_CHAT_TEMPLATE": _TEXT, "LLAMA_ARG_CHAT_TEMPLATE_FILE": _FILE}
# No template is nearly as long. A wrong file must not be read whole.
_LONGEST = 1 << 20


def template_of(entry: LocalEntry, header: Header | None) -> str:
    """Returns the template's text, or the name of a template built into llama.cpp. Returns "" if it cannot be read.

    As in llama-server, the last flag of the entry wins, and any flag wins over `env`.
    """
    settings = [(_VARIABLES[name], value) for name, value in entry.env.items() if name in _VARIABLES]
    settings += [
        (flag, value)
        for arg, value in zip(entry.args, entry.args[1:], strict=False)
        if (flag := arg.replace("_", "-")) in (_TEXT, _FILE)
    ]
    if not settings:
        return (header.text(KEY) if header is not None else None) or ""
    flag, value = settings[-1]
    return value if flag == _TEXT else _read(Path(value).expanduser())


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_LONGEST)
    except OSError:
        return ""


def takes_tools(template: str) -> bool:
    """Tells whether the template mentions tools. A running engine knows better."""
    return "tools" in template


def thinks(template: str) -> bool:
    """Tells whether the template mentions thinking before the answer."""
    return "<think>" in template or "enable_thinking" in template
