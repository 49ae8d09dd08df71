"""Bodies of some megabytes, through a gateway of its own: edited in another process, or refused by name."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from tests.support.gateway import Gateway

Make = Callable[..., Gateway]


def said(mebibytes: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "x" * (mebibytes << 20)}]


def workers(gateway: Gateway) -> list[psutil.Process]:
    children = psutil.Process(gateway.process.pid).children()
    return [child for child in children if "app.relay.request.worker" in child.cmdline()]


def test_a_body_is_edited_up_to_a_limit_that_a_reload_moves(make_gateway: Make) -> None:
    """A null field is one to edit. A body that needs no edit is not limited by it."""
    gateway = make_gateway(max_edit_mb=3)
    assert gateway.chat(messages=said(2), seed=None).status_code == 200
    refused = gateway.chat(messages=said(4), seed=None)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")
    assert "max_edit_mb" in refused.json()["error"]["message"]
    assert gateway.chat(messages=said(4)).status_code == 200
    assert gateway.reload(max_edit_mb=8)["settings"] == ["max_edit_mb"]
    assert gateway.chat(messages=said(4), seed=None).status_code == 200


def test_the_process_for_edits_ends_with_a_killed_gateway(make_gateway: Make) -> None:
    gateway = make_gateway()
    assert gateway.chat(messages=said(2), seed=None).status_code == 200
    started = workers(gateway)
    assert len(started) == 1
    gateway.process.kill()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
