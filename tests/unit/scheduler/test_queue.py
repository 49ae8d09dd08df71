"""The queue of one engine: fair between clients, and nobody is counted who has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.scheduler.queue import EngineQueue, Ticket, Waiter


def waiter(client: str, since: float = 0.0, *, takes_slot: bool = True) -> Waiter:
    return Waiter("a", since, Ticket(client, takes_slot=takes_slot))


def run(main: Coroutine[Any, Any, None]) -> None:
    """A waiter's future belongs to a loop."""
    asyncio.run(main)


def test_slots_go_to_clients_by_turns() -> None:
    """One client's fifty requests are fifty turns, whoever came first."""

    async def main() -> None:
        queue = EngineQueue()
        crowd = [waiter("a") for _ in range(50)]
        for each in crowd:
            queue.add(each)
        one, two = waiter("b"), waiter("b")
        queue.add(one)
        queue.add(two)
        assert (crowd[0].ticket.before, one.ticket.before, two.ticket.before) == (0, 1, 3)
        assert queue.take(4) == [crowd[0], one, crowd[1], two]
        assert (crowd[2].ticket.before, one.ticket.before, len(queue)) == (0, None, 48)

    run(main())


def test_what_takes_no_slot_waits_for_the_engine_alone() -> None:
    """Counting tokens does not stand behind completions."""

    async def main() -> None:
        queue = EngineQueue()
        slotted, counting = waiter("a", 1.0), waiter("a", 2.0, takes_slot=False)
        for each in (slotted, counting):
            queue.add(each)
        assert (counting.ticket.before, queue.since, len(queue)) == (0, 1.0, 2)
        assert queue.take(0) == [counting]
        assert queue.take(0) == [] and queue.take(float("inf")) == [slotted]
        assert (len(queue), queue.since) == (0, None)

    run(main())


def test_who_has_left_is_forgotten() -> None:
    """Its client's turn goes to the next request of it, or to the next client."""

    async def main() -> None:
        queue = EngineQueue()
        first, second, third = waiter("a", 1.0), waiter("b", 2.0), waiter("a", 3.0)
        for each in (first, second, third):
            queue.add(each)
        assert queue.discard(first) and not queue.discard(first)
        assert (queue.since, third.ticket.before, second.ticket.before) == (2.0, 0, 1)
        assert queue.discard(third)
        assert (second.ticket.before, queue.all()) == (0, [second])

    run(main())


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30),
    st.lists(st.integers(0, 4), max_size=40),
    st.data(),
)
def test_positions_are_true_and_nobody_is_served_twice(
    comers: list[tuple[str, bool]], grants: list[int], data: st.DataObject
) -> None:
    """Each gets its slot when as many have gone before it as it was told, if nobody comes or leaves in between."""

    async def main() -> None:
        queue = EngineQueue()
        waiters = [waiter(client, float(at), takes_slot=slot) for at, (client, slot) in enumerate(comers)]
        for each in waiters:
            queue.add(each)
        gone = set(data.draw(st.lists(st.sampled_from(waiters), unique=True))) if waiters else set()
        for each in gone:
            assert queue.discard(each)
        told = {each: each.ticket.before for each in waiters if each not in gone and each.ticket.takes_slot}
        served: list[Waiter] = []
        for slots in grants:
            served += queue.take(slots)
        slotted = [each for each in served if each.ticket.takes_slot]
        assert [told[each] for each in slotted] == list(range(len(slotted)))
        assert len(set(served)) == len(served) and not gone & set(served)
        assert set(queue.all()) | set(served) | gone == set(waiters) and len(queue) == len(queue.all())

    run(main())
