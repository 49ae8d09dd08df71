"""What a request waits for, and what it is told when it has waited long enough: a place, or a load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, events, eventually, header_only

Make = Callable[..., Gateway]
QUEUE_S = 3


@pytest.fixture
def make(make_gateway: Make, tmp_path: Path) -> Make:
    """`make(a=[flags], ...)` with a queue_timeout of three seconds."""

    def made(*, max_loaded: int = 1, queue_timeout: float = QUEUE_S, **models: list[str]) -> Gateway:
        target = {"path": str(header_only(tmp_path / "model.gguf"))}
        entries = {name: {"target": target, "args": flags} for name, flags in models.items()}
        return make_gateway(models=entries, max_loaded=max_loaded, queue_timeout=queue_timeout)

    return made


def refused(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 503
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_a_load_that_takes_longer_is_still_loading(make: Make, tmp_path: Path) -> None:
    """With how far it is; the load goes on, one start, and the next request is served."""
    gateway = make(a=["--load-until", str(tmp_path / "loaded")], b=[])
    error = refused(gateway.chat("a"))
    assert error["code"] == "engine_loading"
    assert "The engine of 'a' is still loading (" in error["message"] and " s so far)" in error["message"]
    assert gateway.state("a") == "starting"
    (tmp_path / "loaded").touch()
    assert gateway.chat("a").status_code == 200
    assert gateway.metric('engine_starts_total{alias="a"}') == 1


def test_a_place_that_does_not_come_free_is_a_queue_timeout(make: Make) -> None:
    """Nothing was loaded, so nothing is said of a load."""
    gateway = make(a=["--tps", "5", "--tokens", "1000"], b=[])
    with gateway.stream("a") as stream:
        next(parsed := events(stream))
        error = refused(gateway.chat("b"))
        assert parsed
    assert error["code"] == "queue_timeout"
    assert f"Timed out after {QUEUE_S} s waiting for a free engine for 'b'" in error["message"]


def test_the_wait_for_a_place_and_the_load_are_counted_apart(make: Make) -> None:
    """Each shorter than queue_timeout, both together longer."""
    gateway = make(a=["--tps", "10", "--tokens", "40"], b=["--load-seconds", "5"], queue_timeout=8)
    with gateway.stream("a") as stream:
        next(parsed := events(stream))
        assert gateway.chat("b").status_code == 200
        assert list(parsed)[-1] == "[DONE]"


def test_a_stream_is_told_the_same_in_its_own_way(make: Make) -> None:
    """The headers may still say 503."""
    gateway = make(a=["--load-seconds", "600"], b=[])
    with gateway.stream("a") as stream:
        assert stream.status_code == 503
        stream.read()
        assert refused(stream)["code"] == "engine_loading"


def test_a_client_that_comes_back_as_told_joins_the_load(make: Make) -> None:
    """Nobody starts anew, however often it comes."""
    gateway = make(a=["--load-seconds", "8"], b=[])
    codes: list[str] = []

    def served() -> bool:
        answer = gateway.chat("a")
        if answer.status_code != 200:
            codes.append(refused(answer)["code"])
        return answer.status_code == 200

    eventually(served)
    assert set(codes) == {"engine_loading"}
    assert gateway.metric('engine_starts_total{alias="a"}') == 1
