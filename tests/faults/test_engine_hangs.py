"""A READY engine that hangs: it accepts connections, and does nothing for the requests that it has."""

import os
import signal
from collections.abc import Callable

import httpx2
import pytest

from tests.support.gateway import Gateway, events, eventually

Make = Callable[..., Gateway]


def test_a_stream_of_an_engine_that_hangs_is_broken_off(make_gateway: Make) -> None:
    """It is an error, no clean end, and the next request gets another engine."""
    gateway = make_gateway(args=["--hang-after-tokens", "3"], hang_timeout=2)
    [engine] = _loaded(gateway)
    parsed = []
    with pytest.raises(httpx2.RemoteProtocolError), gateway.stream(max_tokens=8) as stream:
        for event in events(stream):
            parsed.append(event)
    assert "[DONE]" not in parsed
    error = parsed[-1]["error"]
    assert (error["code"], error["cause"]) == ("upstream_died", "unresponsive")
    assert "llama-server hangs. It has done nothing for 2 s" in error["message"]
    eventually(lambda: engine not in gateway.engines)
    assert gateway.chat(max_tokens=2).status_code == 200


def test_a_whole_answer_of_an_engine_that_hangs_is_a_502(make_gateway: Make) -> None:
    """Nothing was sent, so the status can still say it."""
    gateway = make_gateway(args=["--hang-after-tokens", "3"], hang_timeout=2)
    answer = gateway.chat(max_tokens=8)
    assert answer.status_code == 502
    assert "llama-server hangs" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("args", "tokens"),
    [
        pytest.param(["--prefill-seconds", "3"], 2, id="it answers about its slots"),
        pytest.param(["--tps", "1"], 4, id="it sends a token now and then"),
    ],
)
def test_a_slow_engine_is_left_alone(make_gateway: Make, args: list[str], tokens: int) -> None:
    """A GPU may work without the processor for longer than the limit; its queue answers between two batches."""
    gateway = make_gateway(args=args, hang_timeout=1)
    assert gateway.chat(max_tokens=tokens).status_code == 200
    assert gateway.metric('engine_starts_total{alias="m"}') == 1


def test_a_stopped_engine_is_left_alone(make_gateway: Make) -> None:
    """Whoever stops it by a signal may continue it."""
    gateway = make_gateway(args=["--tps", "20"], hang_timeout=1)
    with gateway.stream(max_tokens=40) as stream:
        parsed = events(stream)
        next(parsed)
        [engine] = gateway.engines
        os.kill(engine, signal.SIGSTOP)
        # Three times the limit
        with pytest.raises(AssertionError):
            eventually(lambda: gateway.engines != [engine], within=3)
        os.kill(engine, signal.SIGCONT)
        assert list(parsed)[-1] == "[DONE]"


def _loaded(gateway: Gateway) -> list[int]:
    assert gateway.chat(max_tokens=1).status_code == 200
    return gateway.engines
