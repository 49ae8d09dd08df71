"""What the gateway costs a real card's answers, and what loads do to a model that is up. Times are printed only."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway
from tests.support.nvidia import GPU, report

pytestmark = [*GPU, pytest.mark.timeout(300)]
TOKENS, ROUNDS = 256, 5


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], large: Path, binary: str) -> Gateway:
    entry = {"target": {"path": str(large)}, "ctx_size": 8192}
    return make_gateway(models={"a": entry, "b": entry}, max_loaded=None, llama_server=binary)


def streamed(client: httpx2.Client, tokens: int, **headers: str) -> tuple[float, float, int]:
    """Seconds to the first event with text, and of the whole answer, and its tokens."""
    body: dict[str, Any] = {"model": "a", "messages": [{"role": "user", "content": "word1 word2 word3"}]}
    body |= {"max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
    began, first, count = time.monotonic(), 0.0, 0
    with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            choices = event.get("choices") or [{"delta": {}}]
            if not first and choices[0]["delta"].get("content"):
                first = time.monotonic() - began
            count = (event.get("usage") or {}).get("completion_tokens", count)
    return first, time.monotonic() - began, count


def test_tokens_come_as_fast_as_from_the_engine_itself(gateway: Gateway) -> None:
    streamed(gateway.client, TOKENS)
    url, key = gateway.engine("a")
    rates: dict[str, list[float]] = {"gateway": [], "engine": []}
    firsts: dict[str, list[float]] = {"gateway": [], "engine": []}
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as engine:
        for _ in range(ROUNDS):
            for name, client, headers in (
                ("gateway", gateway.client, {}),
                ("engine", engine, {"authorization": f"Bearer {key}"}),
            ):
                first, whole, tokens = streamed(client, TOKENS, **headers)
                assert tokens == TOKENS
                rates[name].append(tokens / whole)
                firsts[name].append(first)
    rate = {name: statistics.median(each) for name, each in rates.items()}
    report(
        "tokens per second",
        **{name: round(each, 1) for name, each in rate.items()},
        ratio=round(rate["gateway"] / rate["engine"], 4),
        first_ms={name: round(statistics.median(each) * 1e3, 1) for name, each in firsts.items()},
    )


def test_a_load_and_a_stop_beside_a_model_that_is_up(gateway: Gateway) -> None:
    """Its answers are whole throughout."""
    streamed(gateway.client, 8)
    times: dict[str, list[float]] = {"nothing": [], "load": [], "stop": []}
    now, over = ["nothing"], threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
            while not over.is_set():
                during = now[0]
                first, _, tokens = streamed(client, 8)
                assert tokens == 8
                if now[0] == during:
                    times[during].append(first)

    asker = threading.Thread(target=ask)
    asker.start()
    time.sleep(2)
    for _ in range(2):
        now[0] = "load"
        assert gateway.chat("b", max_tokens=1).status_code == 200
        now[0] = "stop"
        assert gateway.client.post("/admin/models/b/unload", headers=gateway.admin).is_success
        while gateway.state("b") != "stopped":
            time.sleep(0.02)
        now[0] = "nothing"
        time.sleep(1)
    over.set()
    asker.join()
    for during, each in times.items():
        if len(each) > 1:
            p90 = statistics.quantiles(each, n=10)[-1]
            report(
                f"first token during: {during}",
                median_ms=round(statistics.median(each) * 1e3, 1),
                p90_ms=round(p90 * 1e3, 1),
                most_ms=round(max(each) * 1e3, 1),
                answers=len(each),
            )
    assert len(times["nothing"]) > 10 and times["load"], times
