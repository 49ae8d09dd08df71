"""Two cards, by a llama-server that prints them and an NVML that tells who fills them: real figures replace estimates.

By estimate each model takes less than a fiftieth of a card of 10,000 MiB; what it takes in truth its entry says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import forked
from tests.support.architectures import write_llama
from tests.support.cards import Cards
from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(tmp_path / "cards")


@pytest.fixture
def make(make_gateway: Make, tmp_path: Path, cards: Cards, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gateway]:
    """`make(a=(MiB of CUDA0, MiB of CUDA1), ...)`: a gateway with a model for each keyword, on the cards that it takes.

    With `nvml` it finds the scripted one.
    """
    model = write_llama(tmp_path / "m.gguf")

    def made(
        *, nvml: bool = True, args: list[str] | None = None, memory: Any = "auto", **models: tuple[int, int]
    ) -> Gateway:
        monkeypatch.setattr(forked, "start", cards.start if nvml else _start)
        entries: dict[str, Any] = {
            alias: {
                "target": {"path": str(model)},
                "ctx_size": 4096,
                "device": ",".join(f"CUDA{at}" for at, size in enumerate(sizes) if size),
                "env": {f"GGML_TAKES_CUDA{at}": str(size) for at, size in enumerate(sizes) if size},
                "args": args or [],
            }
            for alias, sizes in models.items()
        }
        state = str(tmp_path / "state")
        server = str(cards.llama_server)
        limits = {"max_loaded": None, "memory": memory, "memory_margin": 0}
        return make_gateway(models=entries, llama_server=server, state_dir=state, **limits)

    return made


_start = forked.start


def places(gateway: Gateway) -> dict[str, dict[str, Any]]:
    rows = gateway.client.get("/admin/memory", headers=gateway.admin).json()["data"]
    return {row["name"]: row for row in rows}


def up(gateway: Gateway) -> set[str]:
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {row["alias"] for row in rows if row["state"] == "ready"}


def found(gateway: Gateway, alias: str, **sizes: int) -> None:
    """NVML has told so many MiB of the engine."""

    def told() -> bool:
        held = places(gateway)
        return {card: held[card]["engines"].get(alias, 0) >> 20 for card in sizes} == sizes

    assert eventually(told), places(gateway)


def test_nvml_tells_what_engines_hold_of_each_card(make: Callable[..., Gateway]) -> None:
    gateway = make(a=(4000, 1500), b=(3000, 0))
    for alias in "ab":
        assert gateway.chat(alias).status_code == 200
    found(gateway, "a", CUDA0=4000, CUDA1=1500)
    found(gateway, "b", CUDA0=3000)
    card = places(gateway)["CUDA0"]
    assert (card["total"] >> 20, card["others"], card["free"] >> 20) == (10_000, 0, 3000)
    plan = gateway.command("plan", "a")
    assert "CUDA0 3.91 GiB (measured by NVML)" in plan.stderr


def test_a_known_figure_makes_room_before_the_start(make: Callable[..., Gateway], cards: Cards) -> None:
    """Each has been up alone; beside each other they do not fit, and nobody tries."""
    first = make(a=(7000, 0), b=(6000, 0), c=(0, 2000))
    assert first.chat("a").status_code == 200
    found(first, "a", CUDA0=7000)
    first.client.post("/models/unload", json={"model": "a"}, headers=first.admin)
    eventually(lambda: not up(first))
    assert first.chat("b").status_code == 200
    found(first, "b", CUDA0=6000)
    first.terminate()
    again = make(a=(7000, 0), b=(6000, 0), c=(0, 2000))
    for alias in "cab":
        assert again.chat(alias).status_code == 200
        assert all(size <= 10_000 for size in cards.held().values())
    assert up(again) == {"b", "c"} and not cards.failures


def test_idle_engines_go_where_another_takes_more_than_was_thought(make: Callable[..., Gateway]) -> None:
    """The first time that it is up; what it has begun to answer it answers."""
    gateway = make(memory={"CUDA0": "5000MiB"}, a=(4000, 0), b=(3000, 0), c=(0, 3000))
    for alias in "cab":
        assert gateway.chat(alias).status_code == 200
    eventually(lambda: up(gateway) == {"b", "c"})
    [line] = gateway.logged("engine draining") or [{}]
    assert line["alias"] == "a"
    decisions = gateway.client.get("/admin/decisions", headers=gateway.admin).json()["data"]
    assert any("b takes more memory than estimated" in row["why"] for row in decisions), decisions


def test_running_out_of_memory_is_learned(make: Callable[..., Gateway], cards: Cards) -> None:
    """Where nobody measures: the idle one makes room, the start is tried once more, and the figure is kept."""
    first = make(nvml=False, a=(7000, 0), b=(6000, 0), c=(0, 2000))
    for alias in "cab":
        assert first.chat(alias).status_code == 200
    assert cards.failures == ["CUDA0"] and up(first) == {"b", "c"}
    assert first.logged("the engine needs more than estimated")
    assert first.chat("a").status_code == 200
    assert cards.failures == ["CUDA0"], "what does not go together is known"
    first.terminate()
    again = make(nvml=False, a=(7000, 0), b=(6000, 0), c=(0, 2000))
    for alias in "cab":
        assert again.chat(alias).status_code == 200
    assert cards.failures == ["CUDA0"], "and by the next gateway"


def test_loads_onto_one_card_come_one_after_another(make: Callable[..., Gateway]) -> None:
    """Those onto another do not wait, and a model that is up answers meanwhile."""
    gateway = make(args=["--load-seconds", "1"], a=(1000, 0), b=(1000, 0), c=(0, 1000), d=(0, 1000))
    assert gateway.chat("a").status_code == 200
    others = [threading.Thread(target=gateway.chat, args=(alias,)) for alias in "bcd"]
    for other in others:
        other.start()
    eventually(lambda: gateway.logged("engine starting")[1:])
    began = time.monotonic()
    assert gateway.chat("a").status_code == 200
    while_loading = time.monotonic() - began
    loading = [line["alias"] for line in gateway.log if line.get("event") in ("engine starting", "engine ready")]
    for other in others:
        other.join()
    order = [
        (line["event"].split()[1], line["alias"])
        for line in gateway.log
        if line.get("event") in ("engine starting", "engine ready")
    ]
    on_second = [event for event, alias in order if alias in "cd"]
    assert on_second == ["starting", "ready", "starting", "ready"]
    starts = {alias: order.index(("starting", alias)) for alias in "bcd"}
    assert min(starts["c"], starts["d"]) < order.index(("ready", "b")), "another card's loads wait for none"
    assert len(loading) < len(order), "it was answered before the loads had ended"
    print(f"an answer of a while b, c and d load: {while_loading:.3f} s")


def test_an_optional_draft_is_left_out_and_everybody_says_so(make_gateway: Make, tmp_path: Path, cards: Cards) -> None:
    target, draft = write_llama(tmp_path / "t.gguf"), write_llama(tmp_path / "d.gguf", width=1024)
    entry = {
        "target": {"path": str(target)},
        "draft": {"path": str(draft), "optional": True},
        "ctx_size": 32768,
        "device": "CUDA0",
    }
    server, memory = str(cards.llama_server), {"CUDA0": "150MiB"}
    gateway = make_gateway(models={"m": entry}, llama_server=server, max_loaded=None, memory=memory)
    assert gateway.chat().status_code == 200
    speculation = gateway.client.get("/v1/models/m").json()["speculation"]
    assert (speculation["requested"], speculation["active"], speculation["mode"]) == ("draft-simple", False, "none")
    assert "optional draft is not loaded: with it CUDA0 needs" in speculation["reason"]
    assert gateway.logged("loading without the draft")
    plan = gateway.command("plan", "m")
    assert str(draft) not in plan.stdout and "draft: The optional draft is not loaded" in plan.stderr
    checked = gateway.command("check", "m")
    assert "draft: The optional draft is not loaded" in checked.stdout and checked.returncode == 0
    gateway.reload(memory={"CUDA0": "900MiB"})
    assert str(draft) in gateway.command("plan", "m").stdout


def test_without_the_word_a_draft_that_does_not_fit_is_refused(
    make_gateway: Make, tmp_path: Path, cards: Cards
) -> None:
    """What would help is said."""
    target, draft = write_llama(tmp_path / "t.gguf"), write_llama(tmp_path / "d.gguf", width=1024)
    entry = {"target": {"path": str(target)}, "draft": {"path": str(draft)}, "ctx_size": 32768, "device": "CUDA0"}
    server, memory = str(cards.llama_server), {"CUDA0": "150MiB"}
    gateway = make_gateway(models={"m": entry}, llama_server=server, max_loaded=None, memory=memory)
    eventually(lambda: gateway.state() == "backoff")  # the only model: it was tried at the start
    answer = gateway.chat()
    refused = answer.json()["error"]
    assert (answer.status_code, refused["code"]) == (503, "insufficient_memory")
    assert "no draft" in refused["would_fit_with"] and refused["footprint"]["CUDA0"] > refused["budgets"]["CUDA0"]
    gateway.reload(memory={"CUDA0": "900MiB"})
    assert gateway.chat().status_code == 200, "it fits now: nobody waits for the end of a backoff"
