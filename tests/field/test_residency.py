"""Reports of models that come, stay and go at the wrong time: what llama-swap and llama-server's router get wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway, eventually, header_only

Serve = Callable[..., Gateway]
# What the machine may add to a bound that is stated in seconds
SLACK_S = 30.0


def states(gateway: Gateway) -> dict[str, str]:
    listed = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {engine["alias"]: engine["state"] for engine in listed}


def entry(models: dict[str, Path], **keys: Any) -> dict[str, Any]:
    return {"target": {"path": str(models["target"])}, "args": ["--no-warmup"], "threads": 1, **keys}


def test_a_small_embedding_model_stays_while_chat_models_swap(serve: Serve, models: dict[str, Path]) -> None:
    """llama-swap #301, #749: two places, one of them pinned."""
    embed = entry(models, pin=True, args=["--embedding", "--pooling", "mean"])
    gateway = serve(e=embed, a=entry(models), b=entry(models), max_loaded=2)
    assert gateway.client.post("/v1/embeddings", json={"model": "e", "input": "x"}).status_code == 200
    for chat in ("a", "b", "a"):
        assert gateway.chat(chat, max_tokens=1).status_code == 200
        assert states(gateway)["e"] == "ready"
    assert states(gateway)["b"] == "stopped"


def test_an_idle_model_is_unloaded_and_another_is_there_from_the_start(serve: Serve, models: dict[str, Path]) -> None:
    """llama-swap #165, #156, llama.cpp #18189: `ttl` and `preload`."""
    gateway = serve(a=entry(models, preload=True, ttl=1), b=entry(models), max_loaded=2)
    eventually(lambda: any("the end of its ttl" in line["event"] for line in gateway.logged("unloaded a")))
    eventually(lambda: states(gateway) == {"a": "stopped", "b": "stopped"})
    assert gateway.chat("a", max_tokens=1).status_code == 200


def test_steady_traffic_on_one_model_lets_another_in(make_gateway: Serve, engine: str, models: dict[str, Path]) -> None:
    """llama-swap serves B once A's traffic stops. Here it is within max_wait, and A goes on afterwards."""
    both = {"a": entry(models, ctx_size=1024, parallel=2), "b": entry(models, ctx_size=512)}
    gateway = make_gateway(models=both, llama_server=engine, max_wait=8)
    assert gateway.chat("a", max_tokens=4).status_code == 200
    over = threading.Event()
    answered: list[float] = []

    def traffic() -> None:
        while not over.is_set():
            assert gateway.chat("a", max_tokens=4).status_code == 200
            answered.append(time.monotonic())

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(traffic) for _ in range(3)]
        try:
            eventually(lambda: len(answered) > 10)
            began = time.monotonic()
            assert gateway.chat("b", max_tokens=4).status_code == 200
            served = time.monotonic()
            assert served - began < 8 + SLACK_S
            eventually(lambda: answered[-1] > served)
        finally:
            over.set()
        for client in clients:
            client.result()


def test_why_a_request_waits_is_told_while_it_does(make_gateway: Serve, folder: Path) -> None:
    """Nobody else says it: who is in the way, once, however many decisions are made meanwhile."""
    file = {"path": str(header_only(folder / "model.gguf"))}
    slow = {"target": file, "args": ["--tps", "20", "--tokens", "100"]}
    models = {"a": slow, "b": {"target": file}, "c": {"target": file, "pin": True}}
    gateway = make_gateway(models=models, max_loaded=2, max_wait=4)

    def waits() -> list[str]:
        told = gateway.client.get("/admin/decisions", headers=gateway.admin).json()["data"]
        return [each["words"] for each in reversed(told) if each["decision"] == "waits"]

    assert gateway.chat("c").status_code == 200
    with gateway.stream("a", max_tokens=100) as stream, ThreadPoolExecutor(1) as pool:
        lines = stream.iter_lines()
        next(lines)
        waiting = pool.submit(gateway.chat, "b")
        eventually(waits)
        for _ in range(20):
            assert gateway.chat("c").status_code == 200
        assert [*lines][-2:] == ["data: [DONE]", ""]
        assert waiting.result(30).status_code == 200
    assert [words.split(" for ")[0] for words in waits()[:2]] == [
        "b waits: a is busy with 1",
        "b waits: a is draining, busy with 1",
    ]
    assert len(waits()) == 2 and "c is pinned" in waits()[0]
    assert gateway.logged(waits()[0])


def test_one_slow_unload_holds_up_nobody(make_gateway: Serve, folder: Path) -> None:
    """llama-swap stands still for as long as one engine takes to end."""
    file = {"path": str(header_only(folder / "model.gguf"))}
    stubborn = {"target": file, "args": ["--ignore-sigterm"]}
    gateway = make_gateway(models={"slow": stubborn, "a": {"target": file}}, max_loaded=2, stop_grace=5)
    for model in ("slow", "a"):
        assert gateway.chat(model).status_code == 200
    gateway.client.post("/admin/models/slow/unload", headers=gateway.admin)
    eventually(lambda: states(gateway)["slow"] == "stopping")
    assert gateway.chat("a").status_code == 200
    assert states(gateway)["slow"] == "stopping"


def test_a_broken_model_moves_nobody(make_gateway: Serve, folder: Path) -> None:
    """llama-server's router unloads a healthy model for one that cannot load."""
    file = {"path": str(header_only(folder / "model.gguf"))}
    gateway = make_gateway(models={"a": {"target": file}, "broken": {"target": {"path": str(folder / "no.gguf")}}})
    assert gateway.chat("a").status_code == 200
    assert gateway.chat("broken").status_code == 503
    assert gateway.client.post("/admin/models/broken/load", headers=gateway.admin).status_code == 503
    assert states(gateway)["a"] == "ready"


def test_fifty_requests_at_once_are_answered_in_turn(make_gateway: Serve) -> None:
    """llama-swap answers 429 from the eleventh on."""
    gateway = make_gateway(args=["--tokens", "3"])
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: gateway.chat().status_code, range(50)))
    assert answers == [200] * 50
