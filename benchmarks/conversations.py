"""A turn of a conversation whose model was swapped out before it: its TTFT with and without what is kept."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.processes import free_port, gateway_command, gateway_environment, running, until
from benchmarks.startup import model_file

# Of prompt, before the first swap
SIZES = (2048, 6144)
ROUNDS = 3
# For all sizes together. A busy machine takes minutes for a long prompt
_WITHIN_S = 600.0
_CONTEXT = 8192
# 11 tokens of SmolLM2, and a number that is another each time
_SENTENCE = "The ship with the number {} left the harbour early that morning. "
_TOKENS_A_SENTENCE = 16
_HELLO = [{"role": "user", "content": "Hi"}]


@dataclass(frozen=True, slots=True)
class SwappedTurns:
    """Seconds to the first token of a turn: after a swap with nothing kept (once, since it takes minutes), and medians
    after a swap with the conversation kept, and without a swap. `load` is that of an engine that reads nothing.

    `prompt` is the last turn's in tokens, `cached` what of it was kept. `took` is the whole measurement.
    """

    prompt: int
    cached: int
    kept: float
    cold: float
    unswapped: float
    load: float
    took: float


@dataclass(frozen=True, slots=True)
class TooLong:
    """A size that this machine, as busy as it is, would measure in `seconds`."""

    tokens: int
    seconds: float


def measure(folder: Path, llama_server: str) -> list[SwappedTurns | TooLong] | None:
    """None without a model. Raises RuntimeError if no conversation was restored."""
    model = model_file()
    if model is None:
        return None
    began, rows, last = time.monotonic(), list[SwappedTurns | TooLong](), None
    for tokens in SIZES:
        # Attention makes a prompt three times as long take about four times as long
        needed = 0.0 if last is None else last.took + last.cold * 4 / 3 * (tokens / SIZES[0])
        if time.monotonic() - began + needed > _WITHIN_S:
            rows.append(TooLong(tokens, needed))
        else:
            # A folder of its own: the longer prompt begins as the shorter one
            (own := folder / str(tokens)).mkdir()
            rows.append(last := _measured(own, llama_server, model, tokens))
    return rows


def _measured(folder: Path, llama_server: str, model: Path, tokens: int) -> SwappedTurns:
    text = "".join(_SENTENCE.format(number) for number in range(tokens // _TOKENS_A_SENTENCE))
    began = time.monotonic()
    with _Swapping(folder, llama_server, model) as client:
        talk = _Talk(client, text)
        _ask(client, "other", _HELLO)
        # Nothing was saved yet, so this turn is what each would be without files
        cold = talk.turn()
        unswapped, loads, kept = [], [], []
        for _ in range(ROUNDS):
            unswapped.append(talk.turn())
            loads.append(_ask(client, "other", _HELLO)[0])
            kept.append(talk.turn())
        if 'llama_tandem_conversations_total{alias="m",outcome="restored"}' not in client.get("/metrics").text:
            raise RuntimeError("no conversation was restored, so nothing was measured")
    return SwappedTurns(
        prompt=talk.timings["prompt_n"] + talk.timings["cache_n"],
        cached=talk.timings["cache_n"],
        cold=cold,
        kept=statistics.median(kept),
        unswapped=statistics.median(unswapped),
        load=statistics.median(loads),
        took=time.monotonic() - began,
    )


class _Talk:
    """A conversation with `m` that grows by each turn; `timings` are the engine's of the last."""

    def __init__(self, client: httpx2.Client, text: str) -> None:
        self._client = client
        self._messages = [{"role": "user", "content": text}]
        self.timings: dict[str, Any] = {}

    def turn(self) -> float:
        """Asks, and returns the seconds to the first token."""
        seconds, said, self.timings = _ask(self._client, "m", self._messages)
        self._messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "And then?"}]
        return seconds


class _Swapping:
    """A gateway whose two models take turns."""

    def __init__(self, folder: Path, llama_server: str, model: Path) -> None:
        # A second thread would wait for the first wherever a core has other work
        entry = {"target": {"path": str(model)}, "ctx_size": _CONTEXT, "threads": 1}
        self._port = free_port()
        command = gateway_command(
            folder,
            self._port,
            llama_server=llama_server,
            engine_port=free_port(),
            max_loaded=1,
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


def _ask(client: httpx2.Client, model: str, messages: list[dict[str, str]]) -> tuple[float, str, dict[str, Any]]:
    """Seconds to the first token, the text, and the engine's timings. Raises RuntimeError if there is no answer."""
    body = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0, "stream": True}
    timings: dict[str, Any] = {}
    began, first, text = time.perf_counter(), 0.0, ""
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = list(_timed_lines(response))
    for seconds, line in lines:
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        timings = event.get("timings") or timings
        if event.get("choices") and (piece := event["choices"][0]["delta"].get("content")):
            first = first or seconds - began
            text += piece
    if not first or not timings:
        raise RuntimeError(f"{model} did not answer: {' '.join(line for _, line in lines)[:300]}")
    return first, text, timings


def _timed_lines(response: httpx2.Response) -> Iterator[tuple[float, str]]:
    for line in response.iter_lines():
        yield time.perf_counter(), line
