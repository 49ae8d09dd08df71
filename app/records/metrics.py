"""Measures of finished requests as plain values; how they are shown is the business of others."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import msgspec

# Seconds. TTFT spans a warm 50 ms to a cold start of minutes; TPOT a laptop's 500 ms to a GPU's 2 ms.
TTFT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
TPOT_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)


class Finished(msgspec.Struct, frozen=True, gc=False):
    """One request from its first byte to its last; times in seconds, None where there is nothing to say.

    `alias` is what was asked for, a variant's name among them; `entry` is the own name of the entry behind it.

    `decode` is the engine's own time from the first token to the last. `mode` is what decoded, `none` for plain; it
    and `in_flight` (this request and those beside it when it was sent upstream) are None for servers of others.
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
    # The name of the key that asked, empty where nobody needs one; and prompt tokens that the engine had already
    key: str = ""
    cached: int | None = None
    entry: str = ""
    # The engine's own time for the prompt tokens that it had not
    reading: float | None = None

    @property
    def tpot(self) -> float | None:
        """Time per output token: (end-to-end - TTFT) / (tokens - 1); by the engine's clock where no TTFT was seen."""
        decode = self.decode if self.ttft is None else self.duration - self.ttft
        if decode is None or self.completion_tokens is None or self.completion_tokens < 2:
            return None
        return decode / (self.completion_tokens - 1)

    @property
    def first_token(self) -> float | None:
        """TTFT as seen; of an answer in one piece what is left of its time without the engine's decoding."""
        if self.ttft is not None or self.decode is None:
            return self.ttft
        return max(0.0, self.duration - self.decode)

    @property
    def acceptance(self) -> float | None:
        """Accepted / drafted tokens; absent, not 0, where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted and self.accepted is not None else None


@dataclass(slots=True)
class Histogram:
    """Counts by upper bound; the last counter is for everything above the last bound."""

    bounds: tuple[float, ...]
    total: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, how many at or below it), the last one `+Inf`."""
        labels = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        running, rows = 0, []
        for label, count in zip(labels, self.counts, strict=True):
            running += count
            rows.append((label, float(running)))
        return rows


class Metrics:
    """Totals since the start of the process, by alias.

    What speculation bears on is by alias and mode; the mode of a server of others is not known, and is empty.
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
        # Slots saved, restored, and failed at either; bytes of all files now; seconds that requests did not read anew
        self.conversations: Counter[tuple[str, str]] = Counter()
        self.conversation_bytes = 0
        self.conversation_seconds: defaultdict[str, float] = defaultdict(float)
        # Tokens restored that no request has made use of yet; what reading has taken
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
        """A slot was restored: what that took is won back by requests that need not read these tokens."""
        self.conversations[alias, "restored"] += 1
        self.conversation_seconds[alias] -= seconds
        self._restored[alias] += tokens

    def _reused(self, request: Finished) -> None:
        """Values what a restore has spared this request at what reading has taken this alias a token."""
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
