"""Gateways that fill a real card: what they tell of it, who gets memory, and what happens when there is too little."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.engine.devices import Device, devices
from app.engine.footprint.estimate import estimate
from app.engine.locate import locate
from tests.support.gateway import Gateway, eventually
from tests.support.nvidia import GPU, card_memory, held_elsewhere, report

pytestmark = [*GPU, pytest.mark.timeout(300)]
Make = Callable[..., Gateway]
GIB, MIB = 1 << 30, 1 << 20
CONTEXT = 16384
# What the driver keeps for each process that uses the card
DRIVERS_OWN = GIB


@pytest.fixture
def serve(make_gateway: Make, large: Path, binary: str) -> Make:
    """`serve(a={}, b={...}, memory=...)`: a gateway with the large model under these names."""

    def start(memory: dict[str, int] | str = "auto", llama_server: str = binary, **entries: dict[str, Any]) -> Gateway:
        common = {"target": {"path": str(large)}, "ctx_size": CONTEXT}
        models = {name: common | entry for name, entry in entries.items()}
        return make_gateway(models=models, memory=memory, max_loaded=None, llama_server=llama_server)

    return start


@pytest.fixture(scope="module")
def need(large: Path, card: Device) -> int:
    """Bytes of the card that one such engine takes, by estimate."""
    return estimate(["llama-server", "-m", str(large), "-c", str(CONTEXT), "-np", "1"], [card]).by_device()["CUDA0"]


@pytest.fixture(scope="module")
def cache(large: Path) -> int:
    """Bytes of its cache."""
    return estimate(["llama-server", "-m", str(large), "-c", str(CONTEXT), "-np", "1"]).by_use()["target", "cache"]


def row(gateway: Gateway) -> dict[str, Any]:
    """The card's row of /admin/memory."""
    rows = gateway.client.get("/admin/memory", headers=gateway.admin).json()["data"]
    found: dict[str, Any] = next(each for each in rows if each["name"] == "CUDA0")
    return found


def states(gateway: Gateway) -> dict[str, str]:
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {each["alias"]: each["state"] for each in rows}


def load(gateway: Gateway, alias: str) -> float:
    """Seconds until a model has answered."""
    began = time.monotonic()
    answer = gateway.chat(alias, max_tokens=2)
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began


def engine_pid(gateway: Gateway, alias: str) -> int:
    for pid in gateway.engines:
        words = psutil.Process(pid).cmdline()
        if "--alias" in words and words[words.index("--alias") + 1] == alias:
            return pid
    raise AssertionError(f"no engine of {alias}")


def measured(gateway: Gateway, *aliases: str) -> dict[str, Any]:
    """The card's row, once each engine was measured on the card."""

    def all_measured() -> dict[str, Any] | None:
        found = row(gateway)
        pids = {alias: engine_pid(gateway, alias) for alias in aliases}
        held = card_memory().held
        near = (abs(found["engines"].get(alias, 0) - held[pid]) <= 0.02 * held[pid] for alias, pid in pids.items())
        return found if all(near) else None

    found: dict[str, Any] = eventually(all_measured)
    return found


def in_gib(sizes: dict[str, Any]) -> dict[str, Any]:
    return {name: round(size / GIB, 3) if isinstance(size, int) else size for name, size in sizes.items()}


def test_a_list_of_devices_agrees_with_the_driver(binary: str) -> None:
    """llama-server tells the same card and nearly the same memory; its own context is missing from what is free."""
    before, began = card_memory(), time.monotonic()
    (listed,) = (device for device in devices(locate(binary)) if device.name == "CUDA0")
    took = time.monotonic() - began
    sizes = in_gib(
        {"total": listed.total, "free": listed.free, "driver_total": before.total, "driver_free": before.free}
    )
    report("--list-devices", name=listed.description, seconds=round(took, 2), **sizes)
    assert listed.description == before.name
    assert abs(listed.total - before.total) <= 0.06 * before.total
    assert -16 * MIB <= before.free - listed.free <= DRIVERS_OWN


def test_a_row_is_what_the_driver_sees(serve: Make, need: int) -> None:
    """Total, others, engines and what is free: of an empty card, of one engine and of two."""
    gateway, before = serve(a={}, b={}), card_memory()
    empty = row(gateway)
    assert empty["engines"] == {} and abs(empty["others"] - before.used) <= DRIVERS_OWN
    assert empty["budget"] == empty["free"] == empty["total"] - empty["others"] - GIB
    for alias in "ab":
        seconds, up = load(gateway, alias), "ab"[: "ab".index(alias) + 1]
        full, card = measured(gateway, *up), card_memory()
        ours = sum(full["engines"].values())
        report(
            "/admin/memory",
            seconds=round(seconds, 2),
            estimated=round(need / GIB, 3),
            row=in_gib(full) | {"engines": in_gib(full["engines"])},
            driver=in_gib({"total": card.total, "used": card.used, "free": card.free}),
            processes={pid: round(size / GIB, 3) for pid, size in card.held.items()},
        )
        assert set(full["engines"]) == set(up)
        assert abs(full["others"] + ours - card.used) <= DRIVERS_OWN
        assert full["free"] == full["budget"] - ours <= card.free
        assert need <= full["engines"][alias] <= need + DRIVERS_OWN


def test_a_third_model_evicts_an_idle_one(serve: Make, need: int) -> None:
    """A figure for two holds, as the driver sees it."""
    gateway = serve({"CUDA0": int(2.6 * need)}, a={}, b={}, c={})
    for alias in "abc":
        seconds = load(gateway, alias)
        found = row(gateway)
        seen = card_memory().of(gateway.engines)
        report("budget for two", alias=alias, seconds=round(seconds, 2), row=in_gib(found), seen=round(seen / GIB, 3))
        assert seen <= found["budget"] == int(2.6 * need)
    assert states(gateway) == {"a": "stopped", "b": "ready", "c": "ready"}


def test_what_cannot_fit_is_refused_before_anybody_goes(serve: Make, cache: int, card: Device) -> None:
    gateway = serve(a={}, huge={"ctx_size": CONTEXT * (card.total // cache), "args": ["-ngl", "99"]})
    load(gateway, "a")
    pid = engine_pid(gateway, "a")
    refused = gateway.chat("huge")
    error = refused.json()["error"]
    report("refused", message=error["message"], footprint=in_gib(error["footprint"]), budgets=in_gib(error["budgets"]))
    assert (refused.status_code, error["code"]) == (503, "insufficient_memory")
    assert error["footprint"]["CUDA0"] > card.total > error["budgets"]["CUDA0"]
    assert any(words.startswith("ctx_size: ") for words in error["would_fit_with"])
    assert engine_pid(gateway, "a") == pid and states(gateway)["a"] == "ready"


def test_another_programs_use_is_seen(serve: Make, need: int) -> None:
    """It takes all but two and a half engines' memory: the third model makes an idle one go."""
    gateway = serve(a={}, b={}, c={})
    before = row(gateway)
    taken = card_memory().free - GIB - int(2.6 * need)
    with held_elsewhere(taken):
        # A list of devices is reused for some seconds
        crowded = eventually(lambda: one if (one := row(gateway))["others"] >= before["others"] + taken else None)
        report("another program", taken=round(taken / GIB, 3), before=in_gib(before), crowded=in_gib(crowded))
        assert taken <= crowded["others"] - before["others"] <= taken + DRIVERS_OWN
        assert crowded["budget"] < 3 * need
        for alias in "abc":
            load(gateway, alias)
            assert sum((found := row(gateway))["engines"].values()) <= found["budget"], in_gib(found)
        assert states(gateway) == {"a": "stopped", "b": "ready", "c": "ready"}
    eventually(lambda: row(gateway)["budget"] > before["budget"] - DRIVERS_OWN)
    load(gateway, "a")
    assert states(gateway) == dict.fromkeys("abc", "ready")


@pytest.fixture
def gated(tmp_path: Path, binary: str) -> Iterator[tuple[str, Path, Path]]:
    """A llama-server that holds starts of `b` between the gateway's plan and the load: `here` until `go` exists."""
    here, go, script = tmp_path / "here", tmp_path / "go", tmp_path / "llama-server"
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *"--alias b "*) touch {here}; while [ ! -e {go} ]; do sleep 0.05; done ;; esac\n'
        f'exec {binary} "$@"\n'
    )
    script.chmod(0o755)
    yield str(script), here, go


def test_an_unforeseen_lack_of_memory_evicts_an_idle_engine(
    serve: Make, need: int, gated: tuple[str, Path, Path]
) -> None:
    """Another program takes the memory between the plan and the load: one retry succeeds, nothing false is learned."""
    script, here, go = gated
    gateway = serve(llama_server=script, a={}, b={"args": ["-ngl", "99"]})
    load(gateway, "a")
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(gateway.chat, "b", max_tokens=2)
        eventually(here.exists)
        with held_elsewhere(card_memory().free - need // 2):
            go.touch()
            answer = asked.result()
            decisions = gateway.client.get("/admin/decisions", headers=gateway.admin).json()["data"]
            words = [each["words"] for each in reversed(decisions)]
            starved = gateway.logged("out of memory: the engine needs more")
            report("out of memory", words=words, learned=[in_gib(line) for line in starved], row=in_gib(row(gateway)))
            assert answer.status_code == 200, answer.text
            assert states(gateway) == {"a": "stopped", "b": "ready"}
    assert not starved and len([word for word in words if word.startswith("started b")]) == 2
    # The next start is planned with what it takes in truth
    assert need <= measured(gateway, "b")["engines"]["b"] <= need + DRIVERS_OWN


def test_memory_is_free_for_the_next_as_soon_as_an_engine_is_unloaded(serve: Make, cache: int) -> None:
    """The last list of devices still shows it; a model that needs most of the card is not refused for that."""
    context = CONTEXT * int(0.7 * card_memory().free / cache)
    gateway = serve(a={"ctx_size": context}, b={"ctx_size": context})
    for alias in "ab":
        load(gateway, alias)
        report("in turns", alias=alias, row=in_gib(row(gateway)))
        assert gateway.client.post(f"/admin/models/{alias}/unload", headers=gateway.admin).is_success
        eventually(lambda: set(states(gateway).values()) == {"stopped"})


def test_the_memory_of_a_killed_engine_is_free_again(serve: Make, need: int) -> None:
    gateway = serve(a={}, b={})
    empty = card_memory().used
    load(gateway, "a")
    load(gateway, "b")
    both = card_memory().used
    os.kill(engine_pid(gateway, "a"), signal.SIGKILL)
    began = time.monotonic()
    eventually(lambda: card_memory().used <= both - need)
    freed = time.monotonic() - began
    found = eventually(lambda: one if set((one := row(gateway))["engines"]) == {"b"} else None)
    left = card_memory().used
    report("kill -9", empty=round(empty / GIB, 3), both=round(both / GIB, 3), left=round(left / GIB, 3), freed_s=freed)
    assert abs(found["others"] + found["engines"]["b"] - left) <= DRIVERS_OWN
    load(gateway, "a")
    assert states(gateway) == {"a": "ready", "b": "ready"}


def test_loads_onto_a_card_are_one_after_the_other(serve: Make) -> None:
    gateway = serve(a={}, b={}, c={})
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            seen.append(list(states(gateway).values()).count("starting"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor() as pool:
        seconds = list(pool.map(lambda alias: load(gateway, alias), "abc"))
    over.set()
    watcher.join()
    report("loads", seconds=[round(each, 2) for each in seconds], most_at_once=max(seen), looks=len(seen))
    assert max(seen) == 1
    assert states(gateway) == dict.fromkeys("abc", "ready")
