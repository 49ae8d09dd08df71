"""The engine behind the sockets: loading or not, slots, and the making of tokens."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from .answers import Chat, Completions, Job, Messages, Native, Responses, event
from .failures import die
from .log import Log, write
from .options import Options
from .slots import SlotFiles
from .wire import ClientGoneError, Connection, error

Surface = Chat | Completions | Native | Messages | Responses
ABORT = "ggml-context.cpp:1: GGML_ASSERT(n_outputs_max <= cparams.n_outputs_max) failed"
# How often an answer that is not streamed looks whether its client is still there.
LOOK_S = 1.0


class Engine:
    def __init__(self, options: Options, log: Log) -> None:
        self.options = options
        self.log = log
        self.files = SlotFiles(options)
        self.loaded = threading.Event()
        self.stopping = threading.Event()
        self.hung = threading.Event()
        parallel = options.whole("--parallel", -1)
        self.slots = 4 if parallel < 1 else parallel
        context = options.whole("--ctx-size") or 2048
        self.slot_context = context if parallel < 1 else context // self.slots
        # the lexicographically smallest alias, as in the real one's std::set
        names = options.text("--alias") or options.text("--model").rsplit("/", 1)[-1]
        self.model = min(name.strip() for name in names.split(","))
        self.totals = {"prompt": 0, "predicted": 0, "drafted": 0, "accepted": 0, "drafts": 0}
        self._lock = threading.Lock()
        self._free = list(range(self.slots))
        self._queue: deque[threading.Event] = deque()
        self._jobs = 0

    @property
    def busy(self) -> list[int]:
        with self._lock:
            return [slot for slot in range(self.slots) if slot not in self._free]

    @property
    def deferred(self) -> int:
        return len(self._queue)

    def acquire(self) -> int:
        """First come, first served, and no end to the queue; a queued client that leaves is not noticed."""
        with self._lock:
            turn = threading.Event()
            if self._free and not self._queue:
                return self._free.pop(0)
            self._queue.append(turn)
        turn.wait()
        with self._lock:
            self._queue.popleft()
            slot = self._free.pop(0)
            if self._free and self._queue:
                self._queue[0].set()
            return slot

    def release(self, slot: int) -> None:
        with self._lock:
            self._free.append(slot)
            if self._queue:
                self._queue[0].set()

    def complete(self, connection: Connection, surface: Surface, request: dict[str, Any]) -> None:
        """One completion from its wait for a slot to its last byte."""
        options = self.options
        if options.on("--exit-before-headers"):
            self.die()
        if (deadly := options.text("--exit-on")) and deadly in json.dumps(request):
            self.die()
        if status := options.whole("--fail-status"):
            connection.answer(status, error(status, options.text("--fail-message", "Ordered failure"), _kind(status)))
            return
        if options.drafting and options.text("--spec-draft-n-max") == "0":
            write(ABORT)
            die(signal.SIGABRT)
        slot = self.acquire()
        try:
            n_max = options.whole("--spec-draft-n-max", 3) if options.drafting else 0
            self._jobs += 1
            job = Job(self._jobs, self.model, request, options.whole("--tokens", 16), n_max)
            job.cached = self.files.read(slot, job.number, request)
            if said := options.text("--say", ""):
                job.first_text = Path(said).read_text(encoding="utf-8")
            self.log("I", f"slot launch_slot_: id {slot:2} | task {job.number} | processing task, is_child = 0")
            (self._stream if job.stream else self._whole)(connection, surface, job)
            self._account(slot, job)
        except ClientGoneError:
            self.log("W", f"srv          stop: cancel task, id_task = {self._jobs}")
            raise
        finally:
            self.release(slot)

    def _stream(self, connection: Connection, surface: Surface, job: Job) -> None:
        self._pause(connection, job, self.options.number("--prefill-seconds"))
        connection.begin_stream()
        opening = surface.opening(job)
        if job.wants_progress:
            opening.insert(0, event({"prompt_progress": {"total": job.prompt_tokens, "cache": job.cached}}))
        if opening:
            connection.chunk(b"".join(opening))
        failing = self.options.whole("--error-after-tokens", -1)
        for index in self._tokens(connection, job):
            if index == failing:
                failed = error(500, "Context size has been exceeded.", "server_error")
                # Anthropic's streams get the inner object under a name (b11434)
                anthropic = isinstance(surface, Messages)
                connection.chunk(event(failed["error"], "error") if anthropic else event(failed))
                connection.end_stream()
                raise ClientGoneError
            connection.chunk(surface.token(job, index))
        connection.chunk(b"".join(surface.closing(job)))
        connection.sleep(self.options.number("--end-seconds"))
        connection.end_stream()

    def _whole(self, connection: Connection, surface: Surface, job: Job) -> None:
        self._pause(connection, job, self.options.number("--prefill-seconds"))
        for _ in self._tokens(connection, job):
            pass
        connection.answer(200, surface.whole(job))

    def _tokens(self, connection: Connection, job: Job) -> Any:
        """Indices of tokens at their times; dies, or stops for good, where that was ordered."""
        pace = self.options.number("--tps")
        last = self.options.whole("--exit-after-tokens", -1)
        hangs = self.options.whole("--hang-after-tokens", -1)
        job.first = time.monotonic()
        for index in range(job.count):
            if index == last:
                self.die()
            if index == hangs:
                self.hung.set()
                threading.Event().wait()
            if pace:
                self._pause(connection, job, job.first + index / pace - time.monotonic(), decoding=True)
            if self._cut_short():
                self._linger(connection, job)
            job.tokens = index + 1
            yield index
        if job.count == last:
            self.die()

    def _pause(self, connection: Connection, job: Job, seconds: float, decoding: bool = False) -> None:
        """A stream notices its client's leaving at once; others once a second, and only while nothing else runs."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._cut_short():
            if job.stream and decoding:
                connection.sleep(min(left, 0.05))
                continue
            time.sleep(min(left, 0.05))
            if time.monotonic() - job.looked > LOOK_S and len(self.busy) == 1:
                job.looked = time.monotonic()
                if connection.gone():
                    raise ClientGoneError

    def _cut_short(self) -> bool:
        return self.stopping.is_set() and not self.options.on("--drain-on-sigterm")

    def _linger(self, connection: Connection, job: Job) -> None:
        """After SIGTERM: no more tokens; the next ping, or the client's leaving, ends the answer, broken off."""
        ping = self.options.number("--sse-ping-interval", 30)
        end = time.monotonic() + ping if job.stream and ping > 0 else float("inf")
        while (left := end - time.monotonic()) > 0:
            connection.sleep(min(left, 1.0))
        raise ClientGoneError

    def _account(self, slot: int, job: Job) -> None:
        proposed, accepted, steps = job.drafted
        with self._lock:
            for name, count in zip(
                self.totals, (job.prompt_tokens, job.tokens, proposed, accepted, steps), strict=True
            ):
                self.totals[name] += count
        head = f"id {slot:2} | task {job.number} |"
        speed = job.timings["predicted_per_second"]
        self.log("I", f"slot print_timing: {head} eval: {job.tokens} tokens, {speed:.2f} tokens per second")
        if proposed:
            share = f"{accepted / proposed:.5f} ({accepted:5} accepted / {proposed:5} generated)"
            self.log(
                "I", f"slot print_timing: {head} draft acceptance = {share}, mean len = {1 + accepted / steps:5.2f}"
            )

    def die(self) -> None:
        name = self.options.text("--exit-signal")
        die(signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"] if name else None)


def _kind(status: int) -> str:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}
    kinds |= {404: "not_found_error", 501: "not_supported_error", 503: "unavailable_error"}
    return kinds.get(status, "server_error")
