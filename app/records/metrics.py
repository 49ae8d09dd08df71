"""Measures of finished requests as plain values, without an output format."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import msgspec

# Seconds. TTFT ranges from 50 ms (warm) to minutes (cold start), TPOT from 2 ms (GPU) to 500 ms (laptop).
TTFT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
TPOT_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)


class Finished(msgspec.Struct, frozen=True, gc=False):
    """One request from its first byte to its last. Times are in seconds. None means unknown.

    `alias` is the requested name, which may be a variant. `entry` is the name of its entry.

    `decode` is the engine's own time from the first token to the last. `mode` is the speculation mode, `none` for plain
    decoding. `in_flight` counts the requests in flight when this one was sent, itself included. Both are None for
    attached servers.
    """

    alias: str
    status: int
    duration: float
    ttft: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    decode: float | None = None
    mode: str | None = None
    in_flight: int | None = None
    # The name of the key, or empty; and the prompt tokens in the engine's cache
    key: str = ""
    cached: int | None = None
    entry: str = ""
    # The engine's time for prompt tokens outside its cache
    reading: float | None = None

    @property
    def tpot(self) -> float | None:
        """Time per output token: (end-to-end - TTFT) / (tokens - 1).

        Uses the engine's clock if no TTFT was measured.
        """
        decode = self.decode if self.ttft is None else self.duration - self.ttft
        if decode is None or self.completion_tokens is None or self.completion_tokens < 2:
            return None
        return decode / (self.completion_tokens - 1)

    @property
    def first_token(self) -> float | None:
        """The measured TTFT. For an answer in one piece, its time without the engine's decoding."""
        if self.ttft is not None or self.decode is None:
            return self.ttft
        return max(0.0, self.duration - self.decode)

    @property
    def acceptance(self) -> float | None:
        """Accepted / drafted tokens. None, not 0, if nothing was drafted."""
        return self.accepted / self.drafted if self.drafted and self.accepted is not None else None


@dataclass(slots=True)
class Histogram:
    """Counts by upper bound. The last counter is for values above the last bound."""

    bounds: tuple[float, ...]
    total: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Returns pairs of an upper bound and the count at or below it. The last bound is `+Inf`."""
        labels = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        running, rows = 0, []
        for label, count in zip(labels, self.counts, strict=True):
            running += count
            rows.append((label, float(running)))
        return rows


class Metrics:
    """Totals since the start of the process, by alias.

    Figures that speculation affects are by alias and mode. The mode of an attached server is unknown, and empty.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens_in: Counter[str] = Counter()
        self.tokens_out: Counter[str] = Counter()
        self.drafted: Counter[tuple[str, str]] = Counter()
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.ttft: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(TTFT_BUCKETS))
        self.tpot: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(TPOT_BUCKETS))
        self.in_flight: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.exits: Counter[tuple[str, str]] = Counter()
        # Counts of saved slots, restored slots and failures; bytes of all slot files; seconds of prompt processing
        # saved
        self.conversations: Counter[tuple[str, str]] = Counter()
        self.conversation_bytes = 0
        self.conversation_seconds: defaultdict[str, float] = defaultdict(float)
        # Restored tokens not yet reused by a request; tokens and seconds of prompt processing
        self._restored: Counter[str] = Counter()
        self._read: dict[str, tuple[int, float]] = {}

    def finished(self, request: Finished) -> None:
        alias = request.alias
        self.requests[alias, request.status] += 1
        self.tokens_in[alias] += request.prompt_tokens or 0
        self.tokens_out[alias] += request.completion_tokens or 0
        decoded = (alias, request.mode or "")
        if request.drafted:
            self.drafted[decoded] += request.drafted
            self.accepted[decoded] += request.accepted or 0
        if request.ttft is not None:
            self.ttft[decoded].observe(request.ttft)
        if (tpot := request.tpot) is not None:
            self.tpot[decoded].observe(tpot)
        self._reused(request)

    def restored(self, alias: str, tokens: int, seconds: float) -> None:
        """Counts a restored slot. Its time is recovered by requests that reuse its tokens."""
        self.conversations[alias, "restored"] += 1
        self.conversation_seconds[alias] -= seconds
        self._restored[alias] += tokens

    def _reused(self, request: Finished) -> None:
        """Adds the seconds that reused tokens saved, at the alias's own time per prompt token."""
        if request.reading is None or request.prompt_tokens is None:
            return
        # Presets share the engine of their entry
        alias = request.alias if request.alias in self._restored else request.entry or request.alias
        cached, before = request.cached or 0, self._read.get(alias, (0, 0.0))
        tokens, seconds = before[0] + max(0, request.prompt_tokens - cached), before[1] + request.reading
        self._read[alias] = tokens, seconds
        spared = min(cached, self._restored.get(alias, 0))
        if spared > 0 and tokens > 0:
            self._restored[alias] -= spared
            self.conversation_seconds[alias] += spared * seconds / tokens
