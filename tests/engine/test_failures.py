"""Real engines that do not come up, or go down: the diagnosis is read off their real words."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import PATIENCE_S, Gateway, events, eventually

Serve = Callable[..., Gateway]
Models = dict[str, Path]


def entry(path: Path, **more: Any) -> dict[str, Any]:
    return {"target": {"path": str(path)}} | more


@pytest.mark.parametrize(
    ("name", "more", "cause", "words"),
    [
        ("arch", {}, "unknown_architecture", "unicornlm"),
        ("truncated", {}, "truncated", "incomplete"),
        ("target", {"args": ["--no-such-flag"]}, "refused", "--no-such-flag"),
        ("target", {"device": "CUDA9"}, "bad_device", "CUDA9"),
        ("target", {"args": ["--batch-size", "many"]}, "bad_value", "--batch-size"),
        ("target", {"draft": {"path": "arch"}, "speculation": {"on_inert": "fail"}}, "unknown_architecture", "draft"),
    ],
)
def test_what_cannot_start_is_told_with_its_cause(
    serve: Serve, models: Models, name: str, more: dict[str, Any], cause: str, words: str
) -> None:
    """503, the cause by name, the file or flag in the message."""
    if "draft" in more:
        more = more | {"draft": {"path": str(models[more["draft"]["path"]])}}
    gateway = serve(m=entry(models[name], **more), other=entry(models["target"]))
    answer = gateway.chat("m")
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["cause"], words in error["message"]) == (cause, True), error
    assert gateway.chat("other", max_tokens=1).status_code == 200


def test_kill_of_the_engine_mid_stream(serve: Serve, models: Models) -> None:
    """SIGKILL of a real engine: an error event that says so, a broken connection, and a new engine afterwards."""
    gateway = serve(m=entry(models["target"], ctx_size=2048))
    parsed = []
    with pytest.raises(httpx2.RemoteProtocolError), gateway.stream(max_tokens=1900) as stream:
        for event in events(stream):
            if not parsed:
                os.kill(gateway.engines[0], signal.SIGKILL)
            parsed.append(event)
    assert "killed" in parsed[-1]["error"]["message"]
    eventually(lambda: gateway.state() == "stopped")
    assert gateway.chat(max_tokens=1).status_code == 200


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.05, 0.1, 0.3])
def test_kill_9_of_the_gateway_at_any_moment(serve: Serve, models: Models, wait: float) -> None:
    """While the engine is spawned, loads or serves: nobody is left."""
    gateway = serve(a=entry(models["target"]), b=entry(models["target"]))
    gateway.client.timeout = 0.05
    with pytest.raises(httpx2.TimeoutException):
        while True:
            gateway.chat("a", max_tokens=400)
    time.sleep(wait)
    gateway.process.kill()
    gateway.process.wait()
    eventually(lambda: not gateway.engines)


def test_sigterm_while_a_real_engine_streams(serve: Serve, models: Models) -> None:
    """The stream ends well, the engine is gone, exit code 0."""
    gateway = serve(m=entry(models["target"], ctx_size=2048))
    with gateway.stream(max_tokens=300) as stream:
        parsed = events(stream)
        next(parsed)
        gateway.process.send_signal(signal.SIGTERM)
        assert list(parsed)[-1] == "[DONE]"
    assert gateway.process.wait(PATIENCE_S) == 0
    assert gateway.engines == []
