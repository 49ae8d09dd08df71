"""A client that leaves ends what is done for it; nobody else's cancellation is taken for that."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from app.relay.disconnect import cancel_on_disconnect
from app.relay.request.body import ClientDisconnectedError
from tests.support.clock import run


def leaves_after(seconds: float) -> Callable[[], Any]:
    """A client that sends what nobody waits for, and then goes."""
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        await asyncio.sleep(seconds / 2)
        return messages.pop()

    return receive


def test_what_stands_within_is_cancelled() -> None:
    """At the moment in which the client leaves; the task itself goes on."""

    async def main() -> None:
        cleaned_up = False
        with pytest.raises(ClientDisconnectedError), cancel_on_disconnect(leaves_after(3)):
            try:
                await asyncio.sleep(60)
            finally:
                cleaned_up = True
        assert cleaned_up and 3 <= asyncio.get_running_loop().time() < 3.1
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        await asyncio.sleep(1)

    run(main())


def test_what_is_done_before_costs_no_task() -> None:
    """And nobody listens to the client any more."""

    async def main() -> None:
        async def receive() -> Any:
            raise AssertionError("nobody needs to know")

        with cancel_on_disconnect(receive):
            await asyncio.sleep(0.005)
        await asyncio.sleep(1)

    run(main())


def test_nothing_is_left_of_a_watch() -> None:
    """A client that leaves later disturbs nobody."""

    async def main() -> None:
        with cancel_on_disconnect(leaves_after(3)):
            await asyncio.sleep(1)
        await asyncio.sleep(10)
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_watch_is_no_work_for_the_garbage_collector() -> None:
    """One for each request would cost memory until it comes by."""

    def watches() -> int:
        return sum(type(each).__name__ == "_DisconnectWatch" for each in gc.get_objects())

    async def main() -> None:
        with cancel_on_disconnect(leaves_after(60)):
            await asyncio.sleep(1)
        await asyncio.sleep(0)
        assert watches() == 0

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_a_client_that_was_answered_may_go() -> None:
    """The last bytes may be on their way still."""

    async def main() -> None:
        with cancel_on_disconnect(leaves_after(3), answered=lambda: True):
            await asyncio.sleep(10)

    run(main())


@pytest.mark.parametrize("after", [1.0, 0.0])
def test_another_cancellation_is_none_of_a_client(after: float) -> None:
    """The gateway cuts its answers as well."""

    async def main() -> None:
        async def served() -> None:
            with cancel_on_disconnect(leaves_after(60)):
                await asyncio.sleep(30)

        task = asyncio.create_task(served())
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_an_error_within_stays_what_it_is() -> None:
    """With or without a client."""

    async def main() -> None:
        with pytest.raises(ValueError, match="ours"), cancel_on_disconnect(leaves_after(3)):
            await asyncio.sleep(1)
            raise ValueError("ours")

    run(main())
