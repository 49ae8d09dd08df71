"""The client goes away."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from app.records.database import Database
from app.records.usage import UsageStore
from tests.support.gateway import Gateway, events, eventually

Make = Callable[..., Gateway]


def working(gateway: Gateway) -> list[int]:
    return [slot["id"] for slot in gateway.client.get("/slots?model=m").json() if slot["is_processing"]]


def busy(gateway: Gateway) -> bool:
    return bool(working(gateway))


def test_stream_that_is_left_frees_its_slot(make_gateway: Make) -> None:
    """The upstream connection is closed, the slot is free, the log has no error, the lease is given back.

    Left alone the engine would write for 50 s.
    """
    gateway = make_gateway(args=["--tps", "20", "--tokens", "1000"])
    with gateway.stream() as stream:
        parsed = events(stream)
        next(parsed)
        assert busy(gateway)
    left = time.monotonic()
    eventually(lambda: not busy(gateway))
    print(f"slot free {time.monotonic() - left:.3f} s after the client left")
    eventually(lambda: gateway.metric('in_flight{alias="m"}') == 0)
    (line,) = eventually(lambda: gateway.logged("POST /v1/chat/completions"))
    assert (line["status"], line["level"]) == (499, "info")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_whole_answer_that_is_left_frees_its_slot_in_company(make_gateway: Make, path: str) -> None:
    """With the engine's next write, while another stream goes on: asked directly it runs to its end, 100 s later."""
    gateway = make_gateway(args=["--tps", "20", "--tokens", "2000"], parallel=2)
    with gateway.stream() as other:
        running = events(other)
        next(running)
        with pytest.raises(httpx2.ReadTimeout):
            gateway.client.post(
                path, json={"messages": [{"role": "user", "content": "Hi"}], "prompt": "a"}, timeout=0.5
            )
        left = time.monotonic()
        eventually(lambda: len(working(gateway)) == 1)
        print(f"slot free {time.monotonic() - left:.3f} s after the client left")
        assert isinstance(next(running), dict)
    eventually(lambda: gateway.metric('in_flight{alias="m"}') == 0)


def used(gateway: Gateway) -> tuple[int, int]:
    """Tokens in and out, of the one row of usage."""
    [row] = eventually(lambda: UsageStore(Database(Path(gateway.settings["state_dir"]))).read(["alias"]))
    return row["tokens_in"], row["tokens_out"]


def test_what_a_client_has_had_is_counted_when_it_leaves(make_gateway: Make) -> None:
    """One token an event, and a prompt of about that size; else a key with a limit could leave for ever for nothing."""
    gateway = make_gateway(args=["--tps", "10", "--tokens", "1000"])
    with gateway.stream(messages=[{"role": "user", "content": "word " * 400}]) as stream:
        parsed = events(stream)
        seen = [next(parsed) for _ in range(11)][1:]  # the first one tells whose turn it is
    tokens_in, tokens_out = used(gateway)
    assert len(seen) <= tokens_out <= len(seen) + 50
    assert 400 < tokens_in < 1000


def test_what_a_whole_answer_has_cost_is_counted_when_its_client_leaves(make_gateway: Make) -> None:
    """It has had nothing of it, but the engine has worked."""
    gateway = make_gateway(args=["--tps", "50", "--tokens", "1000"])
    assert gateway.chat(max_tokens=1).status_code == 200
    before = used(gateway)[1]
    with pytest.raises(httpx2.ReadTimeout):
        gateway.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}, timeout=0.5)
    eventually(lambda: used(gateway)[1] - before >= 5)


@pytest.mark.parametrize(
    ("path", "last"),
    [("/v1/responses", "response.incomplete"), ("/v1/messages", "message_stop"), ("/v1/chat/completions", "[DONE]")],
)
def test_who_has_had_the_last_event_may_leave_before_the_end(make_gateway: Make, path: str, last: str) -> None:
    """As Codex does: the answer is whole, with its tokens, and no client that went away."""
    gateway = make_gateway(args=["--end-seconds", "30"])
    said = [{"role": "user", "content": "x"}]
    body = {"messages": said, "input": "x", "max_tokens": 5, "max_output_tokens": 5, "stream": True}
    with gateway.client.stream("POST", path, json=body) as stream:
        lines = stream.iter_lines()
        while last not in next(lines):
            pass
        assert next(line for line in lines if not line) == ""  # to the blank line behind it
    (line,) = eventually(lambda: gateway.logged(f"POST {path}"))
    assert (line["status"], line["completion_tokens"]) == (200, 5)


def test_request_that_is_left_in_the_queue_takes_no_place(make_gateway: Make) -> None:
    """A client that leaves while the model loads leaves no lease behind; the start goes on."""
    gateway = make_gateway(args=["--load-seconds", "1"])
    with contextlib.suppress(httpx2.ReadTimeout):
        gateway.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}, timeout=0.3)
    eventually(lambda: gateway.state() == "ready")
    assert gateway.metric('in_flight{alias="m"}') == 0
    assert gateway.chat().status_code == 200


def test_many_who_leave_hold_nothing(make_gateway: Make) -> None:
    """Forty streams dropped at once: no lease, no slot, and the engine still answers."""
    gateway = make_gateway(args=["--tps", "20", "--tokens", "1000"])
    for _ in range(40):
        with gateway.stream() as stream:
            parsed = events(stream)
            next(parsed)
    eventually(lambda: gateway.metric('in_flight{alias="m"}') == 0)
    eventually(lambda: not busy(gateway))
    assert gateway.chat(max_tokens=2).status_code == 200
