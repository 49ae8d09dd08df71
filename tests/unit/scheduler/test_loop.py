"""Queue and leases, with engines that do as the test says and a clock that jumps."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from app.errors import (
    DeadlyRequestError,
    Diagnosis,
    EngineLoadingError,
    FilesMissingError,
    QueueTimeoutError,
    ShuttingDownError,
    StartFailedError,
)
from app.scheduler.snapshot import PATIENCE_S
from app.scheduler.suspects import REFUSED_FOR_S
from app.supervisor.activity import Activity
from app.supervisor.load_progress import LoadProgress
from app.supervisor.states import EngineState
from tests.support import clock
from tests.support.models import ref_to
from tests.support.scheduled import asking, made, now, turn

CRASHED = Diagnosis("killed", "It was killed.", "Look.", permanent=False)


def test_a_ready_engine_is_leased_at_once_and_given_back_once() -> None:
    """The lease carries the way to the engine; a second release changes nothing."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.READY)
        first, second = await scheduler.lease(ref_to("a")), await scheduler.lease(ref_to("a"))
        assert (first.base_url, first.key, repr(first)) == ("http://a", "key of a", "<Lease a: held>")
        assert scheduler.in_flight == 2
        first.release()
        first.release()
        assert (scheduler.in_flight, repr(first)) == (1, "<Lease a: released>")
        second.release()
        assert (scheduler.in_flight, a.verbs) == (0, [])

    clock.run(main())


def test_an_engine_is_up_from_its_start_to_its_drain() -> None:
    """A verb that it has not taken up yet counts; an alias that nobody has asked for is not up."""

    async def main() -> None:
        states = {str(state): state for state in EngineState}
        scheduler, _ = made(**states)
        assert {alias for alias in states if scheduler.status(ref_to(alias)).up} == {
            EngineState.STARTING,
            EngineState.READY,
        }
        scheduler.use(ref_to("stopped")).heading = EngineState.STARTING
        assert scheduler.status(ref_to("stopped")).up and not scheduler.status(ref_to("unheard-of")).up

    clock.run(main())


def test_a_status_tells_what_is_true_at_its_moment() -> None:
    """It does not change afterwards; moments are of the wall clock, so that others can read them."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.STOPPED)
        [waiting] = await asking(scheduler, "a")
        before = scheduler.status(ref_to("a"))
        a.become(EngineState.STARTING)
        await asyncio.sleep(4.0)
        a.become(EngineState.READY)
        lease = await waiting
        after = scheduler.status(ref_to("a"))
        lease.release()
        assert (before.state, before.waiting, before.in_flight, before.since) == (EngineState.STARTING, 1, 0, None)
        assert (after.state, after.waiting, after.in_flight, after.load_seconds) == (EngineState.READY, 0, 1, 4.0)
        assert after.since == pytest.approx(time.time(), abs=60) and after.last_used is None
        assert scheduler.status(ref_to("a")).last_used == pytest.approx(time.time(), abs=60)
        assert [status.alias for status in scheduler.statuses()] == ["a"]
        fields = after.fields()
        assert json.loads(json.dumps(fields)) == fields and fields["state"] == "ready"

    clock.run(main())


def test_one_start_serves_everyone_who_waits_for_it() -> None:
    """Requests for a stopped engine start it once and are granted together."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.STOPPED)
        waiting = await asking(scheduler, "a", "a")
        assert (a.verbs, scheduler.waiting, scheduler.in_flight) == (["start"], {"a": 2}, 0)
        a.become(EngineState.STARTING)
        waiting += await asking(scheduler, "a")
        a.become(EngineState.READY)
        leases = await asyncio.gather(*waiting)
        assert (a.verbs, scheduler.waiting, scheduler.in_flight) == (["start"], {"a": 0}, 3)
        assert repr(scheduler) == "<Scheduler [a: ready 3], 0 waiting>"
        assert {lease.engine for lease in leases} == {a}

    clock.run(main())


@pytest.mark.parametrize(("state", "retry_after"), [(EngineState.BACKOFF, 4.0), (EngineState.FATAL, None)])
def test_a_failed_start_is_told_to_everyone_who_waited(state: EngineState, retry_after: float | None) -> None:
    """With the engine's own diagnosis, and when to come again if that helps."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.STOPPED)
        waiting = await asking(scheduler, "a", "a")
        a.diagnosis, a.retry_after = CRASHED, retry_after
        a.become(EngineState.STARTING, state)
        for task in waiting:
            with pytest.raises(StartFailedError, match="killed") as caught:
                await task
            assert (caught.value.diagnosis, caught.value.retry_after) == (CRASHED, retry_after)
        assert scheduler.waiting == {"a": 0}

    clock.run(main())


def test_what_cannot_start_is_told_before_a_working_engine_makes_room() -> None:
    """A missing file costs the one who asked, and nobody else."""

    async def main() -> None:
        scheduler, [a, b] = made(a=EngineState.READY, b=EngineState.STOPPED)
        b.refuses = FilesMissingError("There is no b.gguf.")
        with pytest.raises(StartFailedError, match=r"no b\.gguf") as caught:
            await scheduler.lease(ref_to("b"))
        assert (caught.value.diagnosis.code, caught.value.retry_after) == ("missing_file", None)
        assert a.verbs == b.verbs == []

    clock.run(main())


def test_an_engine_that_gave_up_is_looked_at_again() -> None:
    """Its files may have been mended since: the check resets it, and it starts."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.FATAL)
        a.diagnosis = CRASHED
        with pytest.raises(StartFailedError):
            await scheduler.lease(ref_to("a"))
        a.checking.clear()
        [waiting] = await asking(scheduler, "a")
        a.become(EngineState.STOPPED)
        a.checking.set()
        await turn()
        assert a.verbs == ["start"]
        a.become(EngineState.STARTING, EngineState.READY)
        assert (await waiting).alias == "a"

    clock.run(main())


def test_two_who_come_in_one_turn_do_not_share_the_last_place() -> None:
    """An engine that was told to start occupies its place though it has not moved yet."""

    async def main() -> None:
        scheduler, [a, b] = made(a=EngineState.STOPPED, b=EngineState.STOPPED)
        await asking(scheduler, "a", "b")
        assert (a.verbs, b.verbs) == (["start"], [])

    clock.run(main())


def test_an_idle_engine_makes_room_at_once() -> None:
    """Told to drain, it is drained in the same breath; the place goes to the one who waits."""

    async def main() -> None:
        scheduler, [a, b] = made(a=EngineState.READY, b=EngineState.STOPPED)
        [waiting] = await asking(scheduler, "b")
        assert (a.verbs, b.verbs, now()) == (["drain"], [], 0.0)
        a.become(EngineState.DRAINING)
        assert a.verbs == ["drain", "drained"]
        a.become(EngineState.STOPPING)
        assert b.verbs == []
        a.become(EngineState.STOPPED)
        assert b.verbs == ["start"]
        b.become(EngineState.STARTING, EngineState.READY)
        assert (await waiting).base_url == "http://b"

    clock.run(main())


def test_a_busy_engine_makes_room_when_patience_ends_and_its_last_answer_did() -> None:
    """Till then it goes on answering; from then on new requests for it wait behind."""

    async def main() -> None:
        scheduler, [a, b] = made(a=EngineState.READY, b=EngineState.STOPPED)
        first = await scheduler.lease(ref_to("a"))
        [waiting] = await asking(scheduler, "b")
        await asyncio.sleep(PATIENCE_S - 0.5)
        second = await scheduler.lease(ref_to("a"))
        assert a.verbs == []
        await asyncio.sleep(1.0)
        assert a.verbs == ["drain"]
        [behind] = await asking(scheduler, "a")  # before the engine has even taken the verb up
        assert not behind.done()
        a.become(EngineState.DRAINING)
        first.release()
        assert a.verbs == ["drain"]
        second.release()
        assert a.verbs == ["drain", "drained"]
        a.become(EngineState.STOPPING, EngineState.STOPPED)
        assert (a.verbs[2:], b.verbs) == ([], ["start"])
        b.become(EngineState.STARTING, EngineState.READY)
        assert (await waiting).alias == "b"
        assert not behind.done()

    clock.run(main())


def test_a_request_waits_for_a_place_no_longer_than_it_may() -> None:
    """Then it is told so and leaves the queue."""

    async def main() -> None:
        scheduler, [_, b] = made(queue_timeout=3.0, a=EngineState.READY, b=EngineState.STOPPED)
        held = await scheduler.lease(ref_to("a"))
        with pytest.raises(QueueTimeoutError, match="after 3 s waiting for a free engine for 'b'") as caught:
            await scheduler.lease(ref_to("b"))
        assert (now(), caught.value.retry_after) == (3.0, 10)
        assert scheduler.waiting == {"a": 0, "b": 0}
        held.release()
        assert b.verbs == []  # nobody wants it any more

    clock.run(main())


def test_a_client_that_leaves_the_queue_leaves_the_start_to_the_others() -> None:
    """A load of minutes is not thrown away because one of two went home."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.STOPPED)
        gone, staying = await asking(scheduler, "a", "a")
        a.become(EngineState.STARTING)
        gone.cancel()
        await turn()
        assert (gone.cancelled(), scheduler.waiting) == (True, {"a": 1})
        a.become(EngineState.READY)
        assert (await staying).alias == "a"
        assert (a.verbs, scheduler.in_flight) == (["start"], 1)

    clock.run(main())


@pytest.mark.parametrize("late", [True, False])
def test_a_lease_that_nobody_takes_is_given_back(late: bool) -> None:
    """Cancelled just before or just after the grant, in one turn of the loop: the place is not lost for ever."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.STOPPED)
        [gone] = await asking(scheduler, "a")
        a.become(EngineState.STARTING)
        if late:
            a.become(EngineState.READY)
            gone.cancel()
        else:
            gone.cancel()
            a.become(EngineState.READY)
        await turn()
        assert (gone.cancelled(), scheduler.in_flight, scheduler.waiting) == (True, 0, {"a": 0})

    clock.run(main())


def test_a_refusal_that_nobody_hears_is_no_warning() -> None:
    """asyncio tells of exceptions that were never looked at."""

    async def main() -> None:
        contexts: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
        scheduler, [a] = made(a=EngineState.STOPPED)
        [gone] = await asking(scheduler, "a")
        a.diagnosis = CRASHED
        a.become(EngineState.STARTING, EngineState.FATAL)
        gone.cancel()
        await turn()
        del gone
        assert contexts == []

    clock.run(main())


def test_shutting_down_sends_away_who_waits_and_keeps_who_is_served() -> None:
    """No new leases either; what is being answered goes on."""

    async def main() -> None:
        scheduler, [a, _] = made(a=EngineState.READY, b=EngineState.STOPPED)
        held = await scheduler.lease(ref_to("a"))
        [waiting] = await asking(scheduler, "b")
        scheduler.refuse_new()
        for refused in (waiting, scheduler.lease(ref_to("a"))):
            with pytest.raises(ShuttingDownError) as caught:
                await refused
            assert caught.value.retry_after is not None
        assert (scheduler.in_flight, a.verbs) == (1, [])
        await scheduler.close()
        assert a.verbs == ["close"]
        held.release()

    clock.run(main())


def test_a_request_whose_files_were_being_looked_at_starts_nothing_on_the_way_out() -> None:
    """The check can take long enough for the shutdown to come in between."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.STOPPED)
        a.checking.clear()
        [waiting] = await asking(scheduler, "a")
        scheduler.refuse_new()
        a.checking.set()
        with pytest.raises(ShuttingDownError):
            await waiting
        assert a.verbs == []

    clock.run(main())


def test_closing_ends_every_engine_and_hurry_spares_none() -> None:
    """Whatever state they are in."""

    async def main() -> None:
        scheduler, engines = made(a=EngineState.READY, b=EngineState.STOPPED, c=EngineState.STOPPING)
        scheduler.hurry()
        await scheduler.close()
        assert [engine.verbs for engine in engines] == [["hurry", "close"]] * 3

    clock.run(main())


def test_the_wait_for_a_load_is_told_as_what_it_is_and_has_a_limit_of_its_own() -> None:
    """With how far it is; the time before, for a place, does not count."""

    async def main() -> None:
        scheduler, [a] = made(queue_timeout=4.0, a=EngineState.STOPPED)
        [waiting] = await asking(scheduler, "a")
        await asyncio.sleep(3.0)
        a.loading = LoadProgress(4_000_000_000, now)
        a.become(EngineState.STARTING)
        a.loading.saw(Activity(read=1_000_000_000))
        with pytest.raises(
            EngineLoadingError, match=r"still loading \(1\.00 GB of 4\.00 GB read, 4 s so far\)"
        ) as caught:
            await waiting
        assert (now(), caught.value.retry_after, caught.value.progress["seconds_left"]) == (7.0, 12.0, 12)

    clock.run(main())


def test_an_idle_engine_makes_room_in_memory_and_what_was_learnt_stays() -> None:
    """The start that failed beside it is tried again without it; from then on they take turns."""

    async def main() -> None:
        scheduler, [a, b] = made(max_loaded=2, a=EngineState.READY, b=EngineState.STOPPED)
        [waiting] = await asking(scheduler, "b")
        b.diagnosis = Diagnosis("device_memory", "Not enough.", "", permanent=False)
        b.become(EngineState.STARTING, EngineState.BACKOFF)
        assert (a.verbs, waiting.done()) == (["drain"], False)
        a.become(EngineState.DRAINING, EngineState.STOPPING, EngineState.STOPPED)
        assert b.verbs == ["start", "retry"]
        b.become(EngineState.STOPPED)
        assert b.verbs == ["start", "retry", "start"]
        b.become(EngineState.STARTING, EngineState.READY)
        (await waiting).release()
        await asking(scheduler, "a")
        assert b.verbs[3:] == ["drain"]

    clock.run(main())


def test_who_has_not_enough_memory_alone_makes_nobody_move() -> None:
    """For a while: others would be unloaded in vain."""

    async def main() -> None:
        scheduler, [a, b] = made(max_loaded=2, a=EngineState.STOPPED, b=EngineState.STOPPED)
        b.diagnosis = Diagnosis("host_memory", "Not enough.", "", permanent=False)
        for others in (EngineState.STOPPED, EngineState.READY):
            a.become(others)
            [waiting] = await asking(scheduler, "b")
            b.become(EngineState.STARTING, EngineState.BACKOFF)
            with pytest.raises(StartFailedError, match="Not enough"):
                await waiting
            b.become(EngineState.STOPPED)
        assert a.verbs == []

    clock.run(main())


def test_a_request_that_was_alone_at_two_deaths_in_a_row_is_refused() -> None:
    """An answer to it in between clears it, and so does any other death; an end by somebody else is none."""

    async def main() -> None:
        scheduler, [a] = made(a=EngineState.READY)
        a.diagnosis = CRASHED

        async def dies_with(*bodies: bytes) -> None:
            leases = [await scheduler.lease(ref_to("a"), body) for body in bodies]
            a.become(EngineState.BACKOFF)
            for lease in leases:
                lease.release()
            a.become(EngineState.STOPPED, EngineState.STARTING, EngineState.READY)

        for other in ((b"x", b"y"), (b"y",), ()):
            await dies_with(b"x")
            await dies_with(*other)
        await dies_with(b"x")
        lease = await scheduler.lease(ref_to("a"), b"x")
        lease.answered()
        lease.release()
        await dies_with(b"x")
        a.diagnosis = Diagnosis("terminated", "It was told to stop.", "", permanent=False)
        await dies_with(b"x")
        a.diagnosis = CRASHED
        (await scheduler.lease(ref_to("a"), b"x")).release()
        await dies_with(b"x")
        with pytest.raises(DeadlyRequestError, match="It was killed") as caught:
            await scheduler.lease(ref_to("a"), b"x")
        assert caught.value.retry_after == REFUSED_FOR_S
        (await scheduler.lease(ref_to("a"), b"y")).release()
        await asyncio.sleep(REFUSED_FOR_S + 1)
        (await scheduler.lease(ref_to("a"), b"x")).release()

    clock.run(main())
