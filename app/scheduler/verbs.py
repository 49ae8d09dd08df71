"""Admin verbs for one engine (load, unload, pin, unpin, reset), and the loads at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app import logs
from app.errors import EngineUnloadedError, TandemError
from app.models.ref import ModelRef
from app.scheduler.engine_use import EngineUse
from app.scheduler.pins import pin_warnings
from app.scheduler.placement import Placement
from app.scheduler.queue import Ticket
from app.scheduler.refusals import check
from app.scheduler.residency import Residency, preloads
from app.scheduler.suspects import Suspects
from app.supervisor.states import EngineState

if TYPE_CHECKING:
    from app.scheduler.loop import Scheduler

log = logs.get_logger("scheduler")

_DOWN = (EngineState.FATAL, EngineState.BACKOFF)
# The reason of an administrator's decision
ASKED = "an administrator asks for it"
# Retry-After of requests that an `unload` has interrupted, in seconds
_COME_AGAIN_S = 5.0


class Verbs:
    """Verbs for engines, addressed by resolved model refs."""

    def __init__(
        self,
        scheduler: Scheduler,
        placement: Placement,
        suspects: Suspects,
        prepare: Callable[[ModelRef], Awaitable[None]] | None = None,
    ) -> None:
        self._prepare = prepare
        self._scheduler = scheduler
        self._placement = placement
        self._suspects = suspects
        # The loop keeps only weak references to tasks
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._preloads: set[asyncio.Task[None]] = set()

    async def load(self, ref: ModelRef, why: str = ASKED) -> None:
        """Returns when the engine is READY; other engines make room for it as for a request.

        A failed start is retried at once. Loads of one engine are joined, and continue if a caller leaves. Raises the
        errors of `lease`, except timeouts.
        """
        if self._scheduler.status(ref).state is EngineState.READY:
            return
        alias = ref.engine_key
        if alias not in self._loads:
            loading = asyncio.create_task(self._load(ref, why), name=f"load {alias}")
            self._loads[alias] = loading
            loading.add_done_callback(lambda task: self._loaded(alias, task))
        await asyncio.shield(self._loads[alias])

    async def _load(self, ref: ModelRef, why: str) -> None:
        self._placement.decisions.add(ref.engine_key, "load", why)
        if self._prepare is not None:
            await self._prepare(ref)
        await self.reset(ref)
        (await self._scheduler.lease(ref, ticket=Ticket(takes_slot=False, errand=True))).release()

    def _loaded(self, alias: str, task: asyncio.Task[None]) -> None:
        self._loads.pop(alias, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("load failed", alias=alias, error=str(error))

    def preload(self, models: Iterable[tuple[ModelRef, Residency]]) -> None:
        """Begins to load models with `preload`; each that cannot be loaded is a warning in the log."""
        refs = {ref.engine_key: (ref, residency) for ref, residency in models}
        residencies = ((alias, residency) for alias, (_, residency) in refs.items())
        chosen, refused = preloads(residencies, self._placement.places)
        for alias, why in refused.items():
            self._placement.decisions.add(alias, "not preloaded", why)
            log.warning(f"preload: '{alias}' cannot be loaded at the start: {why}", alias=alias)
        self._in_background(self._preload_all([refs[alias][0] for alias in chosen]))

    async def _preload_all(self, refs: Iterable[ModelRef]) -> None:
        """Loads as many as memory holds together, in order: none of them makes room for another."""
        chosen: list[str] = []
        for ref in refs:
            with suppress(TandemError):  # the load reports it
                await check(self._scheduler.use(ref).engine)
            if not self._placement.hold_together([*chosen, ref.engine_key]):
                words = "too little memory beside the models before it"
                self._placement.decisions.add(ref.engine_key, "not preloaded", words)
                log.warning(f"preload: '{ref}' is not loaded: {words}", alias=ref.engine_key)
                continue
            chosen.append(ref.engine_key)
            self._in_background(self._load_with_warning(ref, "preload"))

    def load_soon(self, ref: ModelRef, why: str) -> None:
        """Begins to load `ref`; a failure is a warning in the log."""
        self._in_background(self._load_with_warning(ref, why))

    def warnings(self, refs: Iterable[ModelRef]) -> list[str]:
        """Warnings about `memory`, and about what pinned models leave for the others, as far as it is known."""
        models = {ref.engine_key: self._scheduler.use(ref).residency for ref in refs}
        memory = self._placement.memory
        needs = {alias: memory.needs(alias) for alias in models} if memory is not None else {}
        budgets = memory.budgets() if memory is not None else {}
        strange = memory.warnings() if memory is not None else []
        return [*strange, *pin_warnings(models, self._placement.places, needs, budgets)]

    async def log_warnings(self, refs: Sequence[ModelRef]) -> None:
        """Logs these warnings, once the needs of pinned models are known."""
        for use in map(self._scheduler.use, refs):
            if use.residency.pin:
                with suppress(TandemError):  # its start reports it
                    await check(use.engine)
        for warning in self.warnings(refs):
            log.warning(warning)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        preloading = asyncio.create_task(work, name="preload")
        self._preloads.add(preloading)
        preloading.add_done_callback(self._preloads.discard)

    async def _load_with_warning(self, ref: ModelRef, why: str) -> None:
        try:
            await self.load(ref, why)
        except TandemError as error:
            log.warning(f"{why}: '{ref}' is not loaded: {error}", alias=ref.engine_key)

    def unload(self, ref: ModelRef, *, now: bool = False) -> None:
        """Ends an engine after its running requests. With `now`, it aborts them and refuses waiting ones.

        An engine that is still loading ends at once, and its waiting requests are refused. A later request loads it
        again.
        """
        use = self._scheduler.use(ref)
        alias, state = use.alias, use.state
        if state is EngineState.READY:
            self._placement.drain(use, "unloaded", ASKED)
        elif state in (EngineState.STARTING, EngineState.BACKOFF):
            self._placement.decisions.add(alias, "unloaded", ASKED)
            self._scheduler.send_away(use, lambda: _unloaded(alias))
            self._placement.head_for(use, EngineState.STOPPING, ASKED)
            use.engine.stop()
        if now:
            self._cut(use)
        self._placement.concern(use)

    def _cut(self, use: EngineUse) -> None:
        if use.state not in (EngineState.DRAINING, EngineState.STOPPING):
            return
        for lease in use.leases:
            lease.cut = _unloaded(use.alias)
        self._scheduler.send_away(use, lambda: _unloaded(use.alias))
        use.engine.hurry()

    async def unloaded(self, ref: ModelRef) -> None:
        """Returns when a leaving engine has ended. The next request may have started it again by then."""
        use = self._scheduler.use(ref)
        while use.heading is not None or use.engine.state in (EngineState.DRAINING, EngineState.STOPPING):
            await use.engine.changed()

    def unload_unless_used(self, ref: ModelRef, client: str) -> bool:
        """Unloads an idle engine that no other client has used in the last minute; returns whether it is unloaded."""
        use, now = self._scheduler.use(ref), asyncio.get_running_loop().time()
        if use.state is EngineState.READY and not use.pinned and not use.leases and not use.used_by_others(client, now):
            self._placement.drain(use, "unloaded", "keep_alive 0, and no other client has used it for a minute")
        return use.state not in (EngineState.READY, EngineState.STARTING)

    def pin(self, ref: ModelRef, pinned: bool | None) -> None:
        """Pins an engine against others and its ttl, or unpins it; None restores its entry's value."""
        use = self._scheduler.use(ref)
        use.stay.pin = pinned
        self._placement.decisions.add(use.alias, "pinned" if use.pinned else "unpinned", ASKED)
        self._placement.concern(use)
        self._placement.pump()

    async def reset(self, ref: ModelRef) -> None:
        """Forgets failed starts and crashes, so the next request starts the engine at once."""
        use = self._scheduler.use(ref)
        self._suspects.forget(use.alias)
        self._placement.forget_failures(use.alias)
        while use.engine.state in _DOWN:
            if use.engine.state is EngineState.FATAL:
                use.engine.reset()
            else:
                use.engine.retry()
            await use.engine.changed()

    async def close(self) -> None:
        """Cancels loads and preloads."""
        loads = [*self._loads.values(), *self._preloads]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)


def _unloaded(alias: str) -> EngineUnloadedError:
    return EngineUnloadedError(
        f"The engine of '{alias}' was unloaded by an administrator. Retry the request to load it again.",
        retry_after=_COME_AGAIN_S,
    )
