"""Random traces through the whole scheduler on a clock that jumps: what must hold whatever happens."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import EngineUnavailableError, UnknownAliasError
from app.scheduler.loop import Scheduler
from app.scheduler.queue import Ticket
from app.scheduler.residency import Residency
from app.supervisor.states import OCCUPYING, EngineState
from tests.support import clock
from tests.support.models import ref_to
from tests.support.scheduled import LivelyEngine, lively, now

MAX_WAIT, TIMEOUT = 8.0, 40.0
LONGEST_ANSWER = 3.0


@dataclass
class World:
    """What happened to each request, and every state that an engine was in while it was leased."""

    scheduler: Scheduler
    engines: dict[str, LivelyEngine]
    residencies: dict[str, Residency]
    # What may be up: after a setting of fewer, those that were up until they have ended
    max_loaded: int
    limit: int
    answered: int = 0
    refused: int = 0
    left: int = 0
    waits: list[float] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)

    async def request(self, alias: str, answer: float, ticket: Ticket, patience: float | None) -> None:
        """One end each: an answer, a refusal in words, or its client has left."""
        began = now()
        try:
            async with asyncio.timeout(patience):
                lease = await self.scheduler.lease(ref_to(alias), ticket=ticket)
        except (EngineUnavailableError, UnknownAliasError):
            self.refused += 1
            return
        except TimeoutError:
            self.left += 1
            return
        finally:
            self.waits.append(now() - began)
        self.busy[alias] = self.busy.get(alias, 0) + 1
        try:
            await asyncio.sleep(answer)
        finally:
            self.busy[alias] -= 1
            lease.release()
        self.answered += 1

    def look(self) -> None:
        """Never more places than there are, an exclusive engine alone, no slot given twice, and no busy one stopped."""
        up = [alias for alias, engine in self.engines.items() if engine.state in OCCUPYING]
        assert len(up) <= self.max_loaded
        self.max_loaded = max(self.limit, len(up))
        for alias in up:
            use = self.scheduler.use(ref_to(alias))
            assert not use.residency.exclusive or len(up) == 1
            assert use.free_slots >= 0
        for alias, busy in self.busy.items():
            if busy:
                assert self.engines[alias].state in (EngineState.READY, EngineState.DRAINING), alias

    def reload(self, what: str, alias: str, number: int) -> None:
        """Settings that have changed: an entry, its residency, whether it is there, or how many may be up."""
        changes, ref = self.scheduler.reconfiguration, ref_to(alias)
        match what:
            case "renew":
                changes.renew(alias)
            case "remove":
                changes.remove(alias, lambda: UnknownAliasError(alias, ()))
            case "restore":
                changes.restore(alias)
            case "stay":
                stay = replace(self.residencies[alias], ttl=float(number % 4), pin=number % 3 == 0, priority=number % 2)
                self.residencies[alias] = stay
                self.scheduler.reread(ref)
            case "places":
                self.limit = 1 + number % 3
                self.max_loaded = max(self.limit, self.max_loaded)
                self.scheduler.limit(max_loaded=self.limit)
                changes.keep_to_the_limit()


RELOADS = ["renew", "remove", "restore", "stay", "places"]
RESIDENCIES = st.builds(
    Residency,
    ttl=st.sampled_from([0.0, 0.0, 1.0, 5.0]),
    pin=st.booleans(),
    exclusive=st.sampled_from([False] * 9 + [True]),
    priority=st.integers(-2, 2),
    slots=st.integers(1, 3),
)
EVENTS = st.tuples(
    st.sampled_from(["ask"] * 8 + ["leave", "load", "unload", "pin", "unpin", "reset", "fail", "mend", *RELOADS]),
    st.integers(0, 10**6),
    st.floats(0.0, 2.0),
    st.floats(0.0, LONGEST_ANSWER),
)


@settings(max_examples=30)
@given(
    st.lists(RESIDENCIES, min_size=1, max_size=12),
    st.integers(1, 3),
    st.lists(EVENTS, max_size=60),
    st.integers(1, 5),
)
def test_nothing_is_lost_and_nobody_busy_is_stopped(
    residencies: list[Residency], max_loaded: int, trace: list[tuple[str, int, float, float]], queue: int
) -> None:
    """Of every request comes one end; every wait has one; and afterwards nobody waits and nothing is held."""

    async def main() -> None:
        world = made_world(residencies, max_loaded, queue=queue)
        await played(world, trace)

    clock.run(main())


def made_world(residencies: list[Residency], max_loaded: int, **limits: Any) -> World:
    models = {f"m{at}": residency for at, residency in enumerate(residencies)}
    scheduler, engines = lively(models, max_loaded=max_loaded, queue_timeout=TIMEOUT, max_wait=MAX_WAIT, **limits)
    return World(scheduler, engines, models, max_loaded, max_loaded)


async def played(world: World, trace: list[tuple[str, int, float, float]]) -> None:
    names, verbs = list(world.engines), world.scheduler.verbs
    requests: list[asyncio.Task[None]] = []
    loads: list[asyncio.Task[None]] = []
    for what, choice, pause, answer in trace:
        alias = names[choice % len(names)]
        match what:
            case "ask" | "leave":
                patience = answer / 2 if what == "leave" else None
                ticket = Ticket(
                    f"client {choice % 3}", takes_slot=bool(choice % 5), keep_alive=(None, 0, 1)[choice % 3]
                )
                requests.append(asyncio.create_task(world.request(alias, answer, ticket, patience)))
            case "load":
                loads.append(asyncio.create_task(verbs.load(ref_to(alias))))
            case "unload":
                verbs.unload(ref_to(alias))
            case "pin" | "unpin":
                verbs.pin(ref_to(alias), what == "pin")
            case "reset":
                await verbs.reset(ref_to(alias))
            case "fail" | "mend":
                world.engines[alias].fails = lambda fails=what == "fail": fails
            case _:
                world.reload(what, alias, choice)
        world.look()
        await asyncio.sleep(pause)
        world.look()
    for alias in names:
        world.scheduler.reconfiguration.restore(alias)
        verbs.pin(ref_to(alias), False)
    await asyncio.gather(*requests)
    await asyncio.wait_for(asyncio.gather(*loads, return_exceptions=True), 3 * TIMEOUT)
    world.look()
    assert (world.answered + world.refused + world.left, len(world.waits)) == (len(requests), len(requests))
    # For a place, and then anew for each load that it has seen begin: tries are two seconds apart
    assert max(world.waits, default=0.0) <= 3 * TIMEOUT
    status = world.scheduler.statuses()
    assert (sum(each.in_flight for each in status), sum(each.waiting for each in status)) == (0, 0)


@settings(max_examples=4)
@given(st.integers(0, 10**6), st.integers(100, 400))
def test_hundreds_of_models_in_four_places(seed: int, models: int) -> None:
    """A trace of 2,000 events over hundreds of models, a tenth of which fail to start half of the time."""

    async def main() -> None:
        chance = random.Random(seed)
        residencies = [
            Residency(ttl=chance.choice([0.0, 3.0]), priority=chance.randint(0, 1), slots=chance.randint(1, 4))
            for _ in range(models)
        ]
        world = made_world(residencies, 4, queue=100)
        for alias, engine in world.engines.items():
            if int(alias[1:]) % 10 == 0:
                engine.fails = lambda: chance.random() < 0.5
        kinds = ["ask"] * 40 + ["leave"] * 6 + ["unload", "load"] * 2 + ["pin", "unpin", "renew", "remove", "stay"]
        # Some models are asked for far more often than others
        trace = [
            (chance.choice(kinds), int(chance.paretovariate(0.6)) % models, chance.random() * 0.4, chance.random() * 2)
            for _ in range(2000)
        ]
        await played(world, trace)
        assert world.answered > 200

    clock.run(main())


@given(st.integers(2, 6), st.integers(1, 2), st.integers(0, 10**6))
@settings(max_examples=10)
def test_every_model_is_served_within_its_turns(models: int, places: int, seed: int) -> None:
    """Traffic without pause on all of them: a wait is bounded by the turns of others (docs/placement.md says how)."""

    async def main() -> None:
        chance = random.Random(seed)
        world = made_world([Residency(slots=1)] * models, places)
        for engine in world.engines.values():
            engine.load = chance.uniform(0.1, 3.0)
        ended = asyncio.Event()

        async def client(alias: str) -> None:
            while not ended.is_set():
                await world.request(alias, chance.uniform(0.05, 1.0), Ticket(alias), None)

        clients = [asyncio.create_task(client(alias)) for alias in world.engines]
        await asyncio.sleep(120.0)
        ended.set()
        await asyncio.gather(*clients)
        # Half of max_wait until it is closed, its answer, its stop, and the load of the next
        a_turn = MAX_WAIT / 2 + 1.0 + LivelyEngine.stop_seconds + 3.0
        assert max(world.waits) <= min(models * a_turn, TIMEOUT * 2)
        assert world.refused == 0

    clock.run(main())
