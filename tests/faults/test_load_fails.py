"""A model that does not load: cause, advice and the log's last lines, in the answer and for `check`."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]

PERMANENT = {
    "magic": ("not_gguf", "not GGUF"),
    "truncated": ("truncated", "incomplete"),
    "arch": ("unknown_architecture", "architecture"),
    "bad-device": ("bad_device", "does not exist"),
    "draft": ("missing_file", "the draft model's"),
    "sigill": ("illegal_instruction", "instruction"),
}
PASSING = {
    "memory-kv": ("host_memory", "memory"),
    "memory-cuda": ("device_memory", "device"),
    "sigkill": ("killed", "killed"),
}


@pytest.mark.parametrize("kind", PERMANENT)
def test_what_would_fail_again_is_fatal(make_gateway: Make, kind: str) -> None:
    """503 with the diagnosis, no Retry-After, and SDKs are told not to retry."""
    code, words = PERMANENT[kind]
    gateway = make_gateway(args=["--fail-load", kind])
    eventually(lambda: gateway.state() == "fatal")
    answer = gateway.chat()
    error = answer.json()["error"]
    assert (answer.status_code, error["cause"], error["code"]) == (503, code, "engine_start_failed")
    assert words in error["message"]
    assert "retry-after" not in answer.headers
    assert kind == "sigill" or error["log"]
    eventually(lambda: any("did not load" in line for line in gateway.output))


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_pass_is_tried_again(make_gateway: Make, kind: str) -> None:
    """503 with Retry-After while in BACKOFF."""
    code, words = PASSING[kind]
    gateway = make_gateway(args=["--fail-load", kind])
    eventually(lambda: gateway.state() == "backoff")
    answer = gateway.chat()
    assert answer.status_code == 503
    assert answer.json()["error"]["cause"] == code
    assert words in answer.json()["error"]["message"]
    assert "retry-after" in answer.headers


def test_failure_is_remembered_for_check(make_gateway: Make) -> None:
    """`llama-tandem check` in another process tells the last failure with the end of its log."""
    gateway = make_gateway(args=["--fail-load", "truncated"])
    eventually(lambda: gateway.state() == "fatal")
    done = gateway.command("check", "m")
    assert "last failure" in done.stdout and "incomplete" in done.stdout
    assert "corrupted or incomplete" in done.stdout


def test_hung_load_is_given_up(make_gateway: Make) -> None:
    """Not ready and without progress for start_stall_timeout: the engine is ended and the cause told."""
    gateway = make_gateway(args=["--never-healthy"], start_stall_timeout=1)
    answer = gateway.chat()
    assert answer.status_code == 503
    assert answer.json()["error"]["cause"] == "hung"
    assert "no progress for 1 s" in answer.json()["error"]["message"]
    assert gateway.engines == []


def test_log_output_resets_the_stall_limit(make_gateway: Make) -> None:
    """A load that takes longer than the stall limit, and says so now and then, is left alone."""
    gateway = make_gateway(args=["--load-seconds", "5", "--log-while-loading", "0.2"], start_stall_timeout=3)
    assert gateway.chat().status_code == 200


@pytest.mark.parametrize("work", ["read", "compute", "fill"])
def test_a_silent_load_that_makes_progress_is_left_alone(make_gateway: Make, work: str) -> None:
    """llama-server says nothing while it reads weights: a slow disk is no hang."""
    gateway = make_gateway(args=["--load-seconds", "4", "--busy-while-loading", work], start_stall_timeout=1.5)
    assert gateway.chat().status_code == 200


def test_hard_limit_holds_whatever_is_logged(make_gateway: Make) -> None:
    """start_timeout ends a load that only talks."""
    gateway = make_gateway(args=["--load-seconds", "60", "--log-while-loading", "0.1"], start_timeout=1.5)
    answer = gateway.chat()
    assert "not ready after 1.5 s" in answer.json()["error"]["message"]


def test_cold_stream_that_fails_soon_keeps_its_status(make_gateway: Make, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A stream whose engine cannot start gets 503 and JSON, not a 200 that turns sour."""
    gateway = make_gateway(args=["--fail-load", "arch"])
    with gateway.stream() as stream:
        assert stream.status_code == 503
        assert stream.headers["content-type"] == "application/json"


def test_cold_stream_gets_comments_and_then_its_tokens(make_gateway: Make, tmp_path: Path) -> None:
    """After five seconds of loading: 200 and a comment; then the answer, byte for byte."""
    loaded = tmp_path / "loaded"
    gateway = make_gateway(args=["--load-until", str(loaded)])
    began = time.monotonic()
    with gateway.stream() as stream:
        assert time.monotonic() - began > 3
        assert gateway.state() == "starting"
        loaded.touch()
        lines = list(stream.iter_lines())
    assert stream.status_code == 200
    assert lines[0].startswith(": ")
    assert lines[-2] == "data: [DONE]"


def test_cold_stream_that_fails_late_gets_an_error_event(make_gateway: Make) -> None:
    """What fails after the headers is told in the stream, which then breaks off."""
    import httpx2

    from tests.support.gateway import events

    gateway = make_gateway(args=["--load-seconds", "60"], start_timeout=8)
    parsed = []
    with pytest.raises(httpx2.RemoteProtocolError), gateway.stream() as stream:
        for event in events(stream):
            parsed.append(event)
    assert parsed[0].startswith(":")
    assert parsed[-1]["error"]["code"] == "engine_start_failed"
