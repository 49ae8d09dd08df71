"""What a person asks of engines, and what the clock does to them."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import Diagnosis, EngineUnloadedError, FilesMissingError, StartFailedError
from app.scheduler.queue import Ticket
from app.scheduler.residency import Residency
from app.supervisor.states import EngineState
from tests.support import clock
from tests.support.models import ref_to
from tests.support.scheduled import asked, lively, made, now, turn

ONE_SLOT = Residency(slots=1)


def test_an_idle_engine_goes_when_its_ttl_is_over() -> None:
    """Not a moment before, and not while it is busy; 0 is for ever, and so is a pin."""

    async def main() -> None:
        scheduler, _ = lively(
            {"a": Residency(ttl=60), "b": Residency(), "c": Residency(ttl=60, pin=True)}, max_loaded=3
        )
        await asyncio.gather(*(asked(scheduler, alias, 100.0) for alias in "abc"))
        ended = now()
        status = scheduler.status(ref_to("a"))
        assert status.up and status.unloads_at == pytest.approx(status.last_used + 60, abs=0.01)
        assert [scheduler.status(ref_to(alias)).unloads_at for alias in "bc"] == [None, None]
        await asyncio.sleep(59.0)
        assert scheduler.status(ref_to("a")).state is EngineState.READY
        await asyncio.sleep(1.6)
        assert scheduler.status(ref_to("a")).state is EngineState.STOPPED
        await asyncio.sleep(100_000)
        assert [scheduler.status(ref_to(alias)).state for alias in "bc"] == [EngineState.READY] * 2
        [first, *_] = [decision for decision in scheduler.decisions if decision.verb == "unloaded"]
        assert first.words == "unloaded a: idle 60 s, the end of its ttl"
        assert now() > ended

    clock.run(main())


def test_a_load_that_nobody_uses_has_its_ttl_too() -> None:
    """It counts from the end of the load; a use moves it."""

    async def main() -> None:
        scheduler, _ = lively({"a": Residency(ttl=60)})
        await scheduler.verbs.load(ref_to("a"))
        assert (scheduler.status(ref_to("a")).state, scheduler.status(ref_to("a")).last_used) == (
            EngineState.READY,
            None,
        )
        await asyncio.sleep(30.0)
        await asked(scheduler, "a", 1.0)
        await asyncio.sleep(40.0)
        assert scheduler.status(ref_to("a")).up
        await asyncio.sleep(40.0)
        assert not scheduler.status(ref_to("a")).up

    clock.run(main())


def test_an_unload_drains() -> None:
    """What it answers it ends; a request that comes meanwhile loads it anew."""

    async def main() -> None:
        scheduler, engines = lively({"a": Residency(slots=2)})
        lease = await scheduler.lease(ref_to("a"))
        scheduler.verbs.unload(ref_to("a"))
        await turn()
        later = asyncio.create_task(asked(scheduler, "a", 0.1))
        await asyncio.sleep(50.0)
        assert (scheduler.status(ref_to("a")).state, lease.cut) == (EngineState.DRAINING, None)
        lease.release()
        await later
        assert engines["a"].loads == 2

    clock.run(main())


def test_an_unload_now_cuts_what_is_answered_and_refuses_who_waits() -> None:
    """The relay tells the client why; the engine is ended without grace."""

    async def main() -> None:
        scheduler, engines = lively({"a": ONE_SLOT})
        lease = await scheduler.lease(ref_to("a"))
        waiting = asyncio.create_task(scheduler.lease(ref_to("a")))
        await turn()
        scheduler.verbs.unload(ref_to("a"), now=True)
        with pytest.raises(EngineUnloadedError, match="unloaded by an administrator"):
            await waiting
        assert isinstance(lease.cut, EngineUnloadedError)
        await asyncio.sleep(1.0)
        assert engines["a"].state is EngineState.STOPPED
        lease.release()
        await asked(scheduler, "a", 0.1)

    clock.run(main())


def test_an_unload_ends_a_load() -> None:
    """Those who wait for it are told so; they would start it again by waiting on."""

    async def main() -> None:
        scheduler, engines = lively({"a": ONE_SLOT})
        waiting = asyncio.create_task(scheduler.lease(ref_to("a")))
        await asyncio.sleep(0.5)
        scheduler.verbs.unload(ref_to("a"))
        with pytest.raises(EngineUnloadedError):
            await waiting
        await asyncio.sleep(5.0)
        assert (engines["a"].state, engines["a"].loads) == (EngineState.STOPPED, 1)

    clock.run(main())


def test_a_load_is_joined_and_goes_on_without_its_callers() -> None:
    """It makes room as a request does, however long it takes."""

    async def main() -> None:
        scheduler, engines = lively({"a": ONE_SLOT, "b": ONE_SLOT}, queue_timeout=3.0)
        await asked(scheduler, "a", 0.1)
        engines["b"].load = 100.0
        loads = [asyncio.create_task(scheduler.verbs.load(ref_to("b"))) for _ in range(3)]
        await asyncio.sleep(10.0)
        loads[0].cancel()
        await asyncio.gather(*loads[1:])
        assert ([scheduler.status(ref_to(alias)).up for alias in "ab"], engines["b"].loads) == ([False, True], 1)
        assert scheduler.in_flight == 0

    clock.run(main())


@pytest.mark.parametrize("state", [EngineState.FATAL, EngineState.BACKOFF])
def test_a_load_tries_again_what_has_failed(state: EngineState) -> None:
    """A person who asks for it knows better; so does `reset`, which loads nothing."""

    async def main() -> None:
        for verb in ("load", "reset"):
            scheduler, [a] = made(a=state)
            a.diagnosis = Diagnosis("killed", "It was killed.", "Look.", permanent=True)
            asking = asyncio.create_task(getattr(scheduler.verbs, verb)(ref_to("a")))
            await turn()
            assert a.verbs == ["reset" if state is EngineState.FATAL else "retry"]
            a.become(EngineState.STOPPED)
            await turn()
            assert a.verbs[1:] == (["start"] if verb == "load" else [])
            if verb == "load":
                a.become(EngineState.STARTING, EngineState.READY)
            await asking

    clock.run(main())


def test_a_load_that_cannot_be_says_why_and_moves_nobody() -> None:
    """As a request would be told."""

    async def main() -> None:
        scheduler, engines = lively({"a": ONE_SLOT, "b": ONE_SLOT})
        await asked(scheduler, "a", 0.1)
        engines["b"].refuses = FilesMissingError("There is no b.gguf.")
        with pytest.raises(StartFailedError, match=r"no b\.gguf"):
            await scheduler.verbs.load(ref_to("b"))
        assert scheduler.status(ref_to("a")).up

    clock.run(main())


def test_what_is_preloaded_is_there_and_what_cannot_be_is_told() -> None:
    """A failure of one is no failure of the start."""

    async def main() -> None:
        loaded = Residency(preload=True)
        models = {"a": loaded, "b": loaded, "c": loaded, "d": Residency()}
        scheduler, engines = lively(models, max_loaded=2)
        engines["b"].refuses = FilesMissingError("There is no b.gguf.")
        scheduler.verbs.preload((ref_to(alias), residency) for alias, residency in models.items())
        await asyncio.sleep(10.0)
        assert [alias for alias in models if scheduler.status(ref_to(alias)).up] == ["a"]
        assert "not preloaded c: max_loaded is 2" in [decision.words for decision in scheduler.decisions]

    clock.run(main())


def test_nobodys_engine_is_unloaded_by_another_clients_keep_alive() -> None:
    """0 unloads after the answer what nobody else has used in the last minute."""

    async def main() -> None:
        scheduler, _ = lively({"a": Residency(slots=2)})
        await asked(scheduler, "a", 0.1, client="y")
        await asked(scheduler, "a", 0.1, client="x", keep_alive=0)
        assert scheduler.status(ref_to("a")).up and not scheduler.verbs.unload_unless_used(ref_to("a"), "x")
        assert scheduler.status(ref_to("a")).unloads_at is not None  # when the other's minute is over
        await asyncio.sleep(30.0)
        assert scheduler.status(ref_to("a")).up
        await asyncio.sleep(31.0)
        assert not scheduler.status(ref_to("a")).up and scheduler.verbs.unload_unless_used(ref_to("a"), "x")
        others = asyncio.create_task(asked(scheduler, "a", 50.0, client="y"))
        await asyncio.sleep(5.0)
        await asked(scheduler, "a", 0.1, client="x", keep_alive=0)
        assert scheduler.status(ref_to("a")).state is EngineState.READY
        await others
        await asyncio.sleep(61.0)
        await asked(scheduler, "a", 0.1, client="x", keep_alive=0)
        assert scheduler.status(ref_to("a")).state is EngineState.DRAINING

    clock.run(main())


def test_a_request_may_pin() -> None:
    """Ollama's `keep_alive: -1` of an admin."""

    async def main() -> None:
        scheduler, _ = lively({"a": Residency(ttl=10)})
        lease = await scheduler.lease(ref_to("a"), ticket=Ticket(pins=True))
        lease.release()
        await asyncio.sleep(1000.0)
        assert scheduler.status(ref_to("a")).up and scheduler.status(ref_to("a")).pinned
        scheduler.verbs.pin(ref_to("a"), None)
        await asyncio.sleep(11.0)
        assert not scheduler.status(ref_to("a")).up

    clock.run(main())


def test_decisions_are_told_with_their_reasons() -> None:
    """The newest first, as in the log."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT, "b": ONE_SLOT, "c": Residency(slots=1, pin=True)}, max_loaded=2)
        await asked(scheduler, "c", 0.1)
        await asked(scheduler, "a", 0.1)
        await asyncio.sleep(41.0)
        await asked(scheduler, "b", 0.1)
        words = [decision.words for decision in scheduler.decisions]
        assert words[1] == "evicted a: idle 41 s; b has waited 0.0 s for a place; c is pinned"
        assert words[0].startswith("started b: a request waits for it")
        assert scheduler.status(ref_to("a")).reason.startswith("evicted: idle 41 s")

    clock.run(main())


def test_a_wait_is_told_once_for_each_reason() -> None:
    """However often is decided meanwhile; and anew for the next wait."""

    async def main() -> None:
        scheduler, _ = lively({"a": ONE_SLOT, "b": ONE_SLOT, "c": Residency(slots=1, pin=True)}, max_loaded=2)
        await asked(scheduler, "c", 0.1)
        for _ in range(2):
            long = asyncio.create_task(asked(scheduler, "a", 12.0))
            await asyncio.sleep(2.0)
            waiting = asyncio.create_task(asked(scheduler, "b", 0.1))
            for _ in range(8):
                await asked(scheduler, "c", 1.0)
            await asyncio.gather(long, waiting)
        words = [each.words for each in reversed(scheduler.decisions) if each.verb == "waits"]
        stays = "and stays 1.1 s more since it came up a moment ago"
        assert words[:2] == [
            f"b waits: a is busy with 1 for 2.9 s, {stays}; c is pinned",
            "b waits: a is draining, busy with 1",
        ]
        assert len(words) == 4

    clock.run(main())


def test_the_end_of_an_unload_can_be_waited_for() -> None:
    """Also where the next request starts the engine again in the same moment, and where there is nothing to end."""

    async def main() -> None:
        scheduler, engines = lively({"a": ONE_SLOT})
        await scheduler.verbs.unloaded(ref_to("a"))
        lease = await scheduler.lease(ref_to("a"))
        scheduler.verbs.unload(ref_to("a"))
        ended = asyncio.create_task(scheduler.verbs.unloaded(ref_to("a")))
        behind = asyncio.create_task(scheduler.lease(ref_to("a")))
        await asyncio.sleep(10.0)
        assert not ended.done()
        lease.release()
        began = now()
        await ended
        assert now() - began == pytest.approx(engines["a"].stop_seconds)
        (await behind).release()

    clock.run(main())
