"""Who waits, for how long, and who is told to come again: queues, slots and places on a clock that jumps."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from app.errors import NoRoomError, QueueFullError, QueueTimeoutError
from app.scheduler.queue import Ticket
from app.scheduler.residency import Residency
from app.scheduler.snapshot import PATIENCE_S
from app.supervisor.states import EngineState
from tests.support import clock
from tests.support.models import ref_to
from tests.support.scheduled import LivelyEngine, asked, lively, now, turn

ONE_SLOT = Residency(slots=1)


async def traffic(scheduler: object, alias: str, seconds: float, answers: list[float]) -> None:
    """One client that asks again as soon as it has its answer."""
    while True:
        answers.append(await asked(scheduler, alias, seconds, client=alias))  # type: ignore[arg-type]


def test_beyond_an_engines_slots_requests_wait_here_by_turns() -> None:
    """A client with many requests has as many turns as one with a single one."""

    async def main() -> None:
        scheduler, _ = lively({"a": Residency(slots=2)})
        order: list[str] = []

        async def one(client: str) -> None:
            lease = await scheduler.lease(ref_to("a"), ticket=Ticket(client))
            order.append(client)
            await asyncio.sleep(1.0)
            lease.release()

        asks = [asyncio.create_task(one("crowd")) for _ in range(4)]
        await turn()
        asks.append(asyncio.create_task(one("single")))
        await asyncio.sleep(1.5)
        status = scheduler.status(ref_to("a"))
        assert (order, status.in_flight, status.waiting, status.slots) == (["crowd", "single"], 2, 3, 2)
        await asyncio.gather(*asks)
        assert (order, scheduler.status(ref_to("a")).waiting) == (["crowd", "single", "crowd", "crowd", "crowd"], 0)

    clock.run(main())


def test_a_request_without_a_slot_passes_those_that_wait_for_one() -> None:
    """Counting tokens needs the engine and no slot of it."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT})
        held = await scheduler.lease(ref_to("a"))
        waiting = asyncio.create_task(scheduler.lease(ref_to("a")))
        await turn()
        (await scheduler.lease(ref_to("a"), ticket=Ticket(takes_slot=False))).release()
        assert not waiting.done()
        held.release()
        (await waiting).release()

    clock.run(main())


def test_a_client_that_leaves_is_forgotten_and_its_slot_goes_on() -> None:
    """Also where it leaves in the very turn in which its slot comes."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT})
        held = await scheduler.lease(ref_to("a"))
        tickets = [Ticket("x"), Ticket("y"), Ticket("z")]
        waiting = [asyncio.create_task(scheduler.lease(ref_to("a"), ticket=ticket)) for ticket in tickets]
        await turn()
        assert [ticket.before for ticket in tickets] == [0, 1, 2]
        waiting[0].cancel()
        await turn()
        assert [ticket.before for ticket in tickets] == [None, 0, 1]
        waiting[1].cancel()
        held.release()
        assert (await waiting[2]).alias == "a"
        assert (scheduler.in_flight, scheduler.waiting) == (1, {"a": 0})

    clock.run(main())


def test_a_full_queue_says_when_to_come_again() -> None:
    """As long as those before it are going to take, by what loads and answers have taken."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT, "b": ONE_SLOT}, max_loaded=2, queue=2)
        await asked(scheduler, "a", 8.0)
        held = await scheduler.lease(ref_to("a"))
        waiting = [asyncio.create_task(scheduler.lease(ref_to("a"))) for _ in range(2)]
        await turn()
        with pytest.raises(QueueFullError, match="Queue full: 2 requests are waiting for 'a'") as caught:
            await scheduler.lease(ref_to("a"))
        assert caught.value.retry_after == 24.0
        (await scheduler.lease(ref_to("b"))).release()  # another's queue is another's
        for each in waiting:
            each.cancel()
        await turn()
        held.release()
        (await scheduler.lease(ref_to("a"))).release()

    clock.run(main())


def test_the_queue_of_all_is_bounded_too() -> None:
    """Ten times that of one model."""

    async def main() -> None:
        scheduler, _ = lively(dict.fromkeys("abcdefghijkl", ONE_SLOT), queue=1)
        waiting = [asyncio.create_task(scheduler.lease(ref_to(alias))) for alias in "abcdefghij"]
        await turn()
        with pytest.raises(QueueFullError, match="Queue full: 10 requests are waiting"):
            await scheduler.lease(ref_to("k"))
        for each in waiting:
            each.cancel()

    clock.run(main())


def test_a_wait_for_a_slot_ends_with_the_queues_timeout() -> None:
    """In words that say what was waited for."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT, "b": Residency(slots=3)}, max_loaded=2, queue_timeout=20.0)
        for alias, slots, words in (("a", 1, "for the slot of 'a'"), ("b", 3, "for one of the 3 slots of 'b'")):
            held = [await scheduler.lease(ref_to(alias)) for _ in range(slots)]
            began = now()
            with pytest.raises(QueueTimeoutError, match=words):
                await scheduler.lease(ref_to(alias))
            assert now() - began == 20.0
            for lease in held:
                lease.release()

    clock.run(main())


@pytest.mark.parametrize("answer", [0.2, 3.0])
@pytest.mark.parametrize("clients", [1, 5])
def test_steady_traffic_lets_another_model_in(answer: float, clients: int) -> None:
    """The bound of the docs: half of max_wait to close A, then its answers, its stop, and B's load."""

    async def main() -> None:
        scheduler, engines = lively({"a": Residency(slots=2), "b": ONE_SLOT}, max_wait=30.0)
        answers: list[float] = []
        asks = [asyncio.create_task(traffic(scheduler, "a", answer, answers)) for _ in range(clients)]
        await asyncio.sleep(60.0)
        began = now()
        served = await asked(scheduler, "b", 0.1)
        assert served - began <= 30.0 / 2 + answer + LivelyEngine.stop_seconds + LivelyEngine.load
        await asyncio.sleep(60.0)
        assert max(answers) > now() - 10.0  # and A goes on
        assert engines["b"].loads == 1
        for ask in asks:
            ask.cancel()

    clock.run(main())


def test_alternating_traffic_does_not_thrash() -> None:
    """Two models, room for one, two clients that never pause: at least two thirds of the time somebody is answered."""

    async def main() -> None:
        scheduler, engines = lively({"a": ONE_SLOT, "b": ONE_SLOT}, max_wait=30.0)
        answers: dict[str, list[float]] = {"a": [], "b": []}
        asks = [asyncio.create_task(traffic(scheduler, alias, 0.1, answers[alias])) for alias in "ab"]
        await asyncio.sleep(600.0)
        for ask in asks:
            ask.cancel()
        assert all(len(times) * 0.1 > 600 / 3 for times in answers.values())
        gaps = [after - before for times in answers.values() for before, after in itertools.pairwise(times)]
        assert max(gaps) <= 30.0 + 2 * (LivelyEngine.load + LivelyEngine.stop_seconds)
        assert all(engine.loads < 600 / PATIENCE_S for engine in engines.values())

    clock.run(main())


def test_one_client_that_goes_from_model_to_model_never_waits_for_nothing() -> None:
    """Nobody else wants what it leaves: no minimum residency stands in its way."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT, "b": ONE_SLOT})
        await asked(scheduler, "a", 0.1)
        for alias in "bababa":
            began = now()
            floor = LivelyEngine.stop_seconds + LivelyEngine.load
            assert await asked(scheduler, alias, 0.1) - began == pytest.approx(floor)

    clock.run(main())


def test_many_models_take_turns_in_one_place() -> None:
    """With n others before it, a request waits n turns at the most."""

    async def main() -> None:
        names = "abcde"
        scheduler, _ = lively(dict.fromkeys(names, ONE_SLOT), max_wait=30.0)
        answers: dict[str, list[float]] = {alias: [] for alias in names}
        asks = [asyncio.create_task(traffic(scheduler, alias, 0.2, answers[alias])) for alias in names]
        await asyncio.sleep(1000.0)
        for ask in asks:
            ask.cancel()
        a_turn = 15.0 + 0.2 + LivelyEngine.stop_seconds + LivelyEngine.load
        for times in answers.values():
            assert max(after - before for before, after in itertools.pairwise(times)) <= len(names) * a_turn

    clock.run(main())


def test_a_load_and_a_stop_delay_nobody_else() -> None:
    """A is answered at once while B loads, and while C takes its time to stop."""

    async def main() -> None:
        scheduler, engines = lively(dict.fromkeys("abc", ONE_SLOT), max_loaded=3)
        await asked(scheduler, "a", 0.1)
        await asked(scheduler, "c", 0.1)
        engines["b"].load = engines["c"].stop_seconds = 100.0
        loading = asyncio.create_task(scheduler.lease(ref_to("b")))
        scheduler.verbs.unload(ref_to("c"))
        await asyncio.sleep(1.0)
        states = [scheduler.status(ref_to(alias)).state for alias in "bc"]
        assert states == [EngineState.STARTING, EngineState.STOPPING]
        began = now()
        assert await asked(scheduler, "a", 0.1) == began
        loading.cancel()

    clock.run(main())


def test_pinned_models_are_nobodys_place() -> None:
    """Who could only have such a place is refused at once, with their names; with one free among them it goes on."""

    async def main() -> None:
        pinned = Residency(slots=1, pin=True)
        scheduler, _ = lively({"a": pinned, "b": pinned, "c": ONE_SLOT, "d": ONE_SLOT}, max_loaded=2)
        await asked(scheduler, "a", 0.1)
        await asked(scheduler, "c", 0.1)
        await asked(scheduler, "b", 0.1)
        assert {alias for alias in "abcd" if scheduler.status(ref_to(alias)).up} == {"a", "b"}
        with pytest.raises(NoRoomError, match="No room for 'd': 'a' and 'b' are pinned and in its way"):
            await scheduler.lease(ref_to("d"))
        scheduler.verbs.pin(ref_to("b"), False)
        await asked(scheduler, "d", 0.1)
        assert {alias for alias in "abcd" if scheduler.status(ref_to(alias)).up} == {"a", "d"}

    clock.run(main())


def test_an_exclusive_model_is_alone() -> None:
    """All others go for it, the busy ones when they have answered, and it goes for the next of them."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT, "b": ONE_SLOT, "alone": Residency(slots=1, exclusive=True)}, max_loaded=3)
        await asked(scheduler, "a", 0.1)
        busy = asyncio.create_task(asked(scheduler, "b", 20.0))
        await asyncio.sleep(2.0)
        alone = asyncio.create_task(asked(scheduler, "alone", 1.0))
        await asyncio.sleep(2.0)
        assert {alias for alias in ("a", "b", "alone") if scheduler.status(ref_to(alias)).holds_memory} == {"b"}
        late = asyncio.create_task(asked(scheduler, "a", 0.1))  # behind it, though places are free
        await asyncio.gather(busy, alone)
        assert [scheduler.status(ref_to(alias)).holds_memory for alias in ("a", "b", "alone")] == [False, False, True]
        assert await late > await alone

    clock.run(main())


def test_other_limits_and_stays_hold_from_the_next_decision_on() -> None:
    """As a changed file says them: nobody has to ask again, and no engine is stopped for it."""

    async def main() -> None:
        residencies = {"a": ONE_SLOT, "b": ONE_SLOT}
        scheduler, _ = lively(residencies)
        held = await scheduler.lease(ref_to("a"))
        waiting = asyncio.create_task(scheduler.lease(ref_to("b")))
        more = asyncio.create_task(scheduler.lease(ref_to("a")))
        await turn()
        scheduler.limit(max_loaded=2)
        residencies["a"] = Residency(slots=2)
        scheduler.reread(ref_to("a"))
        (await more).release()
        (await waiting).release()
        assert scheduler.status(ref_to("a")).slots == 2
        residencies["b"] = Residency(slots=1, ttl=5.0)
        scheduler.reread(ref_to("b"))
        await asyncio.sleep(6.0)
        assert [scheduler.status(ref_to(alias)).up for alias in "ab"] == [True, False]
        held.release()

    clock.run(main())
