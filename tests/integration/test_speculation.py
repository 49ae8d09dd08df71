"""Speculation that does not come about, on the fake: served plainly or refused, with the reason, and nobody left."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, eventually, fake_llama_server, header_only

Make = Callable[..., Gateway]


@pytest.fixture
def drafted(make_gateway: Make, tmp_path: Path) -> Callable[..., Gateway]:
    """`drafted(args, **speculation)`: a gateway with one drafted model `m`."""

    def make(args: list[str], settings: dict[str, Any] | None = None, **speculation: Any) -> Gateway:
        files = {name: {"path": str(header_only(tmp_path / f"{name}.gguf"))} for name in ("target", "draft", "other")}
        entry = {"target": files["target"], "draft": files["draft"], "args": args}
        models = {"m": entry | {"speculation": {"mode": "draft-simple"} | speculation}}
        return make_gateway(models=models | {"other": {"target": files["other"]}}, **(settings or {}))

    return make


def status(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get("/v1/models/m").json()["speculation"]
    return found


def test_a_draft_that_is_dropped_is_told(drafted: Callable[..., Gateway]) -> None:
    """Healthy, answering, and not drafting: llama-server's usual way."""
    gateway = drafted(["--draft-inert"])
    answer = gateway.chat()
    assert answer.status_code == 200 and "draft_n" not in answer.json()["timings"]
    found = status(gateway)
    assert (found["active"], found["mode"]) == (False, "none")
    assert found["reason"].startswith("/slots says that it is off: failed to initialize speculative decoding")
    assert eventually(lambda: gateway.logged("speculation is off"))


def test_a_start_that_fails_is_tried_once_without_the_draft(drafted: Callable[..., Gateway], tmp_path: Path) -> None:
    """The reason is kept; the answer is there."""
    order = ["--fail-load", "draft", "--fail-first", "1", "--state-file", str(tmp_path / "starts")]
    gateway = drafted(order)
    assert gateway.chat().status_code == 200
    found = status(gateway)
    assert (found["requested"], found["active"], found["mode"]) == ("draft-simple", False, "none")
    assert found["reason"].startswith("draft-simple failed at the start: ")


def test_a_certain_failure_is_not_repeated_by_the_next_gateway(drafted: Callable[..., Gateway], tmp_path: Path) -> None:
    """Until a file or the build is another one: the fake's second try would have come up."""
    order = ["--fail-load", "draft", "--fail-first", "1", "--state-file", str(tmp_path / "starts")]
    alike = {"state_dir": str(tmp_path / "state"), "llama_server": str(fake_llama_server(tmp_path))}
    told = []
    for written_at in (1, 1, 2):
        gateway = drafted(order, alike)
        for name in ("target", "draft"):
            os.utime(tmp_path / f"{name}.gguf", (written_at, written_at))
        assert gateway.chat().status_code == 200
        told.append(status(gateway))
        gateway.terminate()
    assert told[0]["reason"].startswith("draft-simple failed at the start: ") and told[1] == told[0]
    assert told[2]["active"]


def test_a_failure_that_is_not_the_drafts_fault_is_told_as_it_is(drafted: Callable[..., Gateway]) -> None:
    """Both tries fail: the diagnosis is that of the plain one."""
    gateway = drafted(["--fail-load", "arch"])
    error = gateway.chat().json()["error"]
    assert error["cause"] == "unknown_architecture"
    assert not gateway.engines


def test_on_inert_fail_leaves_no_engine(drafted: Callable[..., Gateway]) -> None:
    """It was up and healthy; nobody asked for a plain one."""
    gateway = drafted(["--draft-inert"], on_inert="fail")
    answer = gateway.chat()
    assert (answer.status_code, answer.json()["error"]["cause"]) == (503, "speculation_inert")
    eventually(lambda: not gateway.engines)
    assert gateway.chat("other").status_code == 200


def test_a_warm_up_that_never_ends_is_a_hung_start(drafted: Callable[..., Gateway]) -> None:
    """The start's limit holds for it, and plain decoding gets its one try."""
    gateway = drafted(["--prefill-seconds", "3"], settings={"start_timeout": 1.5})
    assert gateway.chat().status_code == 200
    assert "no answer to the warm-up within 1.5 s" in status(gateway)["reason"]
