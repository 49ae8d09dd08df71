"""An engine that somebody else has told to end is noticed; words alone are no end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from app.supervisor import endings
from app.supervisor.child import Ended
from tests.support import clock

GOODBYE = "0.12.345.678 I srv    operator(): operator(): cleaning up before exit..."


def child(returncode: int | None, *log: str) -> Any:
    return SimpleNamespace(ended=None if returncode is None else Ended(returncode), log=log)


@pytest.mark.parametrize(
    ("returncode", "log", "code"),
    [
        (0, (), "terminated"),
        (1, (GOODBYE, "Received second interrupt, terminating immediately."), "terminated"),
        (1, (), "exited"),
        (-11, (GOODBYE,), "crashed"),
        (-9, (), "killed"),
    ],
)
def test_how_it_ended_tells_who_has_done_it(returncode: int, log: tuple[str, ...], code: str) -> None:
    assert endings.exited(child(returncode, *log)).code == code


@pytest.mark.parametrize(("log", "code"), [((GOODBYE,), "terminated"), ((), "unresponsive")])
def test_one_that_lives_and_takes_no_connections_may_have_said_why(log: tuple[str, ...], code: str) -> None:
    assert endings.unresponsive(child(None, *log)).code == code


def test_a_goodbye_counts_once_nobody_listens_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verbose log has prompts in it, and anybody may write that line into one."""
    listening = True

    async def listens(base_url: str) -> bool:
        return listening

    monkeypatch.setattr(endings, "_listens", listens)

    async def main() -> None:
        nonlocal listening
        goodbye = asyncio.Event()
        deaf = asyncio.create_task(endings.until_deaf(goodbye, "http://127.0.0.1:8001"))
        goodbye.set()
        await asyncio.sleep(60)
        assert (deaf.done(), goodbye.is_set()) == (False, False)
        listening = False
        await asyncio.sleep(60)
        assert not deaf.done()
        goodbye.set()
        await asyncio.sleep(1)
        assert deaf.done()

    clock.run(main())


def test_the_log_of_a_lost_engine_is_not_its_cause() -> None:
    lost = SimpleNamespace(ended=Ended(lost="box2: its agent died"), log=(GOODBYE,))
    diagnosis = endings.exited(lost)  # type: ignore[arg-type]
    assert diagnosis.code == "node_lost" and "box2: its agent died" in diagnosis.cause
    assert endings.ended_early(lost.ended, lost.log) == diagnosis
