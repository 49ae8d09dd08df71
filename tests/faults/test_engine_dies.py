"""The engine goes away while somebody waits for its words."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.gateway import Gateway, events, eventually, fake_llama_server, header_only

Make = Callable[..., Gateway]
# llama-server's, and the fake's: what a stream would wait for
SSE_PING_S = 30


def test_death_mid_stream_is_an_error_event_and_a_broken_connection(make_gateway: Make) -> None:
    """Never a clean end, never [DONE]; the log and the metrics say 502; the next request starts it again."""
    gateway = make_gateway(args=["--exit-after-tokens", "3", "--tps", "50"])
    parsed = []
    with pytest.raises(httpx2.RemoteProtocolError), gateway.stream(max_tokens=20) as stream:
        for event in events(stream):
            parsed.append(event)
    assert "[DONE]" not in parsed
    assert parsed[-1]["error"]["code"] == "upstream_died"
    assert "exit code 1" in parsed[-1]["error"]["message"]
    assert parsed[-1]["error"]["log"]
    # The log comes through a pipe of its own
    (line,) = eventually(lambda: [line for line in gateway.log if line.get("event") == "POST /v1/chat/completions"])
    assert line["status"] == 502
    assert gateway.metric('requests_total{alias="m",status="502"}') == 1
    assert gateway.metric('engine_exits_total{alias="m",cause="exited"}') == 1
    eventually(lambda: gateway.state() == "stopped")
    assert gateway.chat(max_tokens=2).status_code == 200


def test_death_by_signal_is_named(make_gateway: Make) -> None:
    """A segmentation fault is told as such."""
    gateway = make_gateway(args=["--exit-after-tokens", "1", "--exit-signal", "SEGV"])
    answer = gateway.chat()
    assert answer.status_code == 502
    assert "segmentation fault" in answer.json()["error"]["message"]


def test_death_before_headers_is_a_502_with_the_diagnosis(make_gateway: Make) -> None:
    """An OpenAI error body, not an empty one."""
    gateway = make_gateway(args=["--exit-before-headers"])
    answer = gateway.chat()
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert error["code"] == "upstream_died"
    assert "exit code" in error["message"]
    assert error["cause"] == "exited" and error["log"], "the message sends the reader there"


def test_a_short_backoff_is_waited_for_and_a_long_one_is_a_503(make_gateway: Make) -> None:
    """An engine that can start, and dies of each request: 1 and 2 s are waited, 4 are told as Retry-After."""
    gateway = make_gateway(args=["--exit-before-headers"])
    # Each is another: the same one would be what kills it
    assert [gateway.chat(max_tokens=n).status_code for n in range(1, 4)] == [502, 502, 502]
    # The delay doubles with each crash, so that even a slow machine asks within one
    numbers = iter(range(4, 100))
    answer = eventually(lambda: (found := gateway.chat(max_tokens=next(numbers))).status_code == 503 and found)
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert answer.json()["error"]["cause"] == "exited"


def test_a_sigterm_of_somebody_elses_ends_answers_at_once(make_gateway: Make) -> None:
    """llama-server sends no more tokens then, and would go at its next ping, half a minute later."""
    gateway = make_gateway(args=["--tps", "10", "--tokens", "1000"], parallel=2)
    with gateway.stream() as stream:
        parsed = events(stream)
        next(parsed)
        [engine] = gateway.engines
        os.kill(engine, signal.SIGTERM)
        began = time.monotonic()
        with pytest.raises(httpx2.RemoteProtocolError):
            for event in parsed:
                last = event
    assert (last["error"]["code"], last["error"]["cause"]) == ("upstream_died", "terminated")
    assert time.monotonic() - began < SSE_PING_S
    assert gateway.chat(max_tokens=2).status_code == 200


def test_a_request_that_meets_an_engine_on_its_way_out_is_served_by_the_next(
    make_gateway: Make, tmp_path: Path
) -> None:
    """It takes no connections, and has said nothing: its words go to a file."""
    script = tmp_path / "wrapper"
    fake = fake_llama_server(tmp_path)
    script.write_text(f'#!/bin/sh\n[ $# -gt 2 ] || exec "{fake}" "$@"\nexec "{fake}" "$@" >/dev/null 2>&1\n')
    script.chmod(0o755)
    model = str(header_only(tmp_path / "model.gguf"))
    entry = {"target": {"path": model}, "args": ["--tps", "10", "--tokens", "1000"], "parallel": 2}
    gateway = make_gateway(models={"m": entry}, llama_server=str(script))
    with gateway.stream() as stream:
        parsed = events(stream)
        next(parsed)
        [engine] = gateway.engines
        os.kill(engine, signal.SIGTERM)
        eventually(lambda: not listens(engine))
        assert gateway.chat(max_tokens=2).status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            for event in parsed:
                last = event
    assert (last["error"]["code"], last["error"]["cause"]) == ("upstream_died", "unresponsive")
    assert engine not in gateway.engines


def listens(pid: int) -> bool:
    return any(c.status == psutil.CONN_LISTEN for c in psutil.Process(pid).net_connections())


def test_what_may_pass_is_tried_for_as_long_as_somebody_asks(make_gateway: Make, tmp_path: Path) -> None:
    """Memory that another program held may be free the next time."""
    held = ["--fail-load", "memory-kv", "--fail-first", "3", "--state-file", str(tmp_path / "starts")]
    gateway = make_gateway(args=held)
    seen = set()

    def answered() -> bool:
        answer = gateway.chat()
        seen.add((answer.status_code, answer.headers.get("retry-after", "") != ""))
        time.sleep(0.5)
        return answer.status_code == 200

    eventually(answered)
    assert seen == {(503, True), (200, False)}
    assert gateway.metric('engine_exits_total{alias="m",cause="host_memory"}') == 3


def test_an_engine_that_has_answered_comes_back_at_the_next_request(make_gateway: Make) -> None:
    """However often it is killed, nobody is refused."""
    gateway = make_gateway()
    for _ in range(5):
        gateway.chat().raise_for_status()
        [engine] = gateway.engines
        os.kill(engine, signal.SIGKILL)
        eventually(lambda: gateway.state() != "ready")


def test_a_request_that_kills_its_engine_is_refused_and_others_are_served(make_gateway: Make) -> None:
    """Alone in its engine at two deaths in a row; by its body, so that others have the model."""
    gateway = make_gateway(args=["--exit-on", "poison"])

    def ask(text: str) -> Any:
        return gateway.chat(messages=[{"role": "user", "content": text}])

    ask("hello").raise_for_status()
    assert [ask("poison").status_code for _ in range(2)] == [502, 502]
    eventually(lambda: ask("hello").status_code == 200)
    refused = ask("poison")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "request_kills_engine")
    assert "died twice in a row while it answered this request and no other" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 300
    assert gateway.metric('engine_starts_total{alias="m"}') == 3
    ask("poison in another bottle")
    ask("hello").raise_for_status()


def test_engines_own_error_passes_as_it_is(make_gateway: Make) -> None:
    """A 4xx of the engine within the first seconds keeps its status and body."""
    gateway = make_gateway(args=["--fail-status", "400", "--fail-message", "no such thing"])
    for answer in (gateway.chat(), gateway.chat(stream=True)):
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "no such thing"


def test_what_a_wrapper_has_started_does_not_outlive_it(make_gateway: Make, tmp_path: Path) -> None:
    """A script that does not `exec` is killed, by the kernel for want of memory say: its llama-server ends as well."""
    script = tmp_path / "wrapper"
    script.write_text(f'#!/bin/sh\n"{fake_llama_server(tmp_path)}" "$@"\nexit $?\n')
    script.chmod(0o755)
    gateway = make_gateway(llama_server=str(script))
    assert gateway.chat().status_code == 200
    (wrapper,) = (pid for pid in gateway.engines if psutil.Process(pid).ppid() == gateway.process.pid)
    assert len(gateway.engines) == 2
    os.kill(wrapper, signal.SIGKILL)
    eventually(lambda: not gateway.engines)
    eventually(lambda: gateway.state() == "stopped")
    assert gateway.chat().status_code == 200
