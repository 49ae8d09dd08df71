"""The second turn of a conversation whose model was swapped out in between: its TTFT with and without what is kept."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.processes import free_port, gateway_command, gateway_environment, running, until
from benchmarks.startup import model_file

# Of prompt, in the first turn
SIZES = (2048, 6144)
_CONTEXT = 8192
# 11 tokens of SmolLM2, and a number that is another each time
_SENTENCE = "The ship with the number {} left the harbour early that morning. "
_TOKENS_A_SENTENCE = 16


@dataclass(frozen=True, slots=True)
class SecondTurn:
    """Seconds to the first token of the second turn: after a swap, kept and not, and without one; `load` of an engine
    that has read nothing. `prompt` is the second turn's in tokens, `cached` what of it was kept.
    """

    prompt: int
    cached: int
    kept: float
    cold: float
    unswapped: float
    load: float


def measure(folder: Path, llama_server: str) -> list[SecondTurn] | None:
    """None without a model."""
    model = model_file()
    if model is None:
        return None
    return [_measured(folder, llama_server, model, tokens) for tokens in SIZES]


def _measured(folder: Path, llama_server: str, model: Path, tokens: int) -> SecondTurn:
    text = "".join(_SENTENCE.format(number) for number in range(tokens // _TOKENS_A_SENTENCE))
    turns: dict[str, tuple[float, dict[str, Any]]] = {}
    with _Swapping(folder, llama_server, model, conversations="on") as client:
        first = [{"role": "user", "content": text}]
        said = _ask(client, "m", first)[1]["text"]
        second = [*first, {"role": "assistant", "content": said}, {"role": "user", "content": "And then?"}]
        turns["unswapped"] = _ask(client, "m", second)
        _ask(client, "other", [{"role": "user", "content": "Hi"}])
        turns["kept"] = _ask(client, "m", second)
    with _Swapping(folder, llama_server, model, conversations="off") as client:
        turns["load"] = _ask(client, "other", [{"role": "user", "content": "Hi"}])
        turns["cold"] = _ask(client, "m", second)
    timings = turns["kept"][1]["timings"]
    return SecondTurn(
        prompt=timings["prompt_n"] + timings["cache_n"],
        cached=timings["cache_n"],
        **{name: turn[0] for name, turn in turns.items()},
    )


class _Swapping:
    """One whose two models take turns."""

    def __init__(self, folder: Path, llama_server: str, model: Path, *, conversations: str) -> None:
        entry = {"target": {"path": str(model)}, "ctx_size": _CONTEXT}
        self._port = free_port()
        command = gateway_command(
            folder,
            self._port,
            llama_server=llama_server,
            engine_port=free_port(),
            conversations=conversations,
            models={"m": entry, "other": entry},
        )
        self._running = running(command, self._port, env=gateway_environment())
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=None, trust_env=False)

    def __enter__(self) -> httpx2.Client:
        server = self._running.__enter__()
        until(self._answers, server)
        return self._client

    def _answers(self) -> bool:
        try:
            return self._client.get("/health").status_code == 200
        except httpx2.HTTPError:
            return False

    def __exit__(self, *error: Any) -> None:
        self._client.close()
        self._running.__exit__(*error)


def _ask(client: httpx2.Client, model: str, messages: list[dict[str, str]]) -> tuple[float, dict[str, Any]]:
    """Seconds to the first token; the text and the engine's timings."""
    body = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0, "stream": True}
    began, first, text, timings = time.perf_counter(), 0.0, "", {}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            timings = event.get("timings") or timings
            if event["choices"] and (piece := event["choices"][0]["delta"].get("content")):
                first = first or time.perf_counter() - began
                text += piece
    return first, {"text": text, "timings": timings}
