"""Stands where llama.cpp's tests start a llama-server: that itself, or a gateway with the same flags in its entry.

UPSTREAM_BINARY is the real one, UPSTREAM_MODELS a folder with the files that stand for the models of the Hub, and
UPSTREAM_GATEWAY a folder for the gateway's files, where one is to stand before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

_MODELS = frozenset(("--hf-repo", "--hf-file", "--model-url", "--model"))
_OF_THE_HUB = _MODELS | {"--offline"}
# A llama-server answers to any name, the gateway to those in its entry
_NAMES_IN_THEIR_TESTS = (
    *("test", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "gpt-4.1"),
    *("davinci-002", "text-embedding-3-small"),
)
_MARKER = "LLAMA_MEDIA_MARKER"
# The gateway's own, which `import` leaves out
_OF_THE_GATEWAY = {"--host": "host", "--port": "port", "--api-key": "api_keys"}


def model_for(given: list[tuple[str, str | None]]) -> list[str]:
    """The flags of the model that stands for the one that is asked for. Without a model a llama-server is a router."""
    asked = dict(given)
    if not _MODELS & asked.keys():
        return []
    folder, repo = Path(os.environ["UPSTREAM_MODELS"]), asked.get("--hf-repo") or ""
    words = ["--model", str(folder / ("infill.gguf" if "infill" in repo else "target.gguf"))]
    # A repo with a projector brings it along
    sees = "gemma3" in repo and "--no-mmproj" not in asked
    return [*words, "--mmproj", str(folder / "projector.gguf")] if sees else words


def pairs(words: list[str]) -> list[tuple[str, str | None]]:
    """Flags with their values, None where there is none; a value never begins with two dashes here."""
    found: list[tuple[str, str | None]] = []
    for word in words:
        if word.startswith("-") and not word.lstrip("-").isdigit():
            found.append((word, None))
        else:
            found[-1] = (found[-1][0], word)
    return found


def settings(words: list[str], folder: Path) -> dict[str, Any]:
    """A tandem.yaml of one entry, as `llama-tandem import` makes it."""
    own = {_OF_THE_GATEWAY[flag]: value for flag, value in pairs(words) if flag in _OF_THE_GATEWAY}
    of_engine = [each for each in pairs(words) if each[0] not in _OF_THE_GATEWAY]
    imported = _imported([word for each in of_engine for word in each if word is not None])
    for entry in imported["models"].values():
        entry["aliases"] = [*entry.get("aliases", ()), *_NAMES_IN_THEIR_TESTS]
        # Engines get variables of their entry only
        if _MARKER in os.environ:
            entry["env"] = {_MARKER: os.environ[_MARKER]}
    port = int(own.pop("port") or 0)
    return (
        imported
        | own
        | {
            "port": port,
            "engine_port": port + 1,
            "stop_grace": 1,
            "llama_server": os.environ["UPSTREAM_BINARY"],
            "state_dir": str(folder / "state"),
            "cache_dir": str(folder.parent / "cache"),
        }
    )


def _imported(words: list[str]) -> dict[str, Any]:
    """What `import` prints. Most tests of a file start the same llama-server, so each line is imported once."""
    kept = Path(os.environ["UPSTREAM_GATEWAY"]) / f"{sha256(repr(words).encode()).hexdigest()[:16]}.yaml"
    if not kept.exists():
        command = [sys.executable, "-m", "app", "import", "llama-server", *words]
        kept.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    imported: dict[str, Any] = yaml.safe_load(kept.read_text())
    return imported


def main() -> None:
    given = pairs(sys.argv[1:])
    kept = [each for each in given if each[0] not in _OF_THE_HUB]
    words = [*model_for(given), *(word for each in kept for word in each if word is not None)]
    if not (gateway := os.environ.get("UPSTREAM_GATEWAY")):
        os.execv(os.environ["UPSTREAM_BINARY"], ["llama-server", *words])
    folder = Path(tempfile.mkdtemp(dir=gateway))
    # In their folder, from which their paths start
    config = Path.cwd() / f"{folder.name}.yaml"
    config.write_text(json.dumps(settings(words, folder)))
    os.execv(sys.executable, [sys.executable, "-m", "app", "serve", "--config", str(config)])


if __name__ == "__main__":
    main()
