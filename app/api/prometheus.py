"""`GET /metrics`: the plain values of `app.records.metrics` in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.config.speculation import NONE
from app.records.metrics import Metrics
from app.scheduler.loop import Scheduler
from app.supervisor.states import EngineState

PREFIX = "llama_tandem_"
# `mode` is llama-server's name of the speculation mode: `none` for plain decoding, empty for an attached server.
_BY_MODE = ("alias", "mode")


class _Values(Collector):
    def __init__(self, metrics: Metrics, scheduler: Scheduler) -> None:
        self._metrics = metrics
        self._scheduler = scheduler

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._tokens()
        yield from self._times()
        yield from self._engines()
        yield from self._conversations()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(PREFIX + "requests", "Requests by status.", labels=["alias", "status"])
        for (alias, status), count in self._metrics.requests.items():
            requests.add_metric([alias, str(status)], count)
        in_flight = GaugeMetricFamily(PREFIX + "in_flight", "Requests being served now.", labels=["alias"])
        for alias, count in self._metrics.in_flight.items():
            in_flight.add_metric([alias], count)
        waiting = GaugeMetricFamily(PREFIX + "waiting", "Requests that wait for an engine.", labels=["alias"])
        for alias, count in self._scheduler.waiting.items():
            waiting.add_metric([alias], count)
        yield from (requests, in_flight, waiting)

    def _tokens(self) -> Iterator[Metric]:
        for name, text, counts in (
            ("prompt_tokens", "Prompt tokens.", self._metrics.tokens_in),
            ("completion_tokens", "Generated tokens.", self._metrics.tokens_out),
        ):
            family = CounterMetricFamily(PREFIX + name, text, labels=["alias"])
            for alias, count in counts.items():
                family.add_metric([alias], count)
            yield family
        for name, text, drafts in (
            ("drafted_tokens", "Tokens that a draft proposed.", self._metrics.drafted),
            ("accepted_tokens", "Drafted tokens that the target accepted.", self._metrics.accepted),
        ):
            family = CounterMetricFamily(PREFIX + name, text, labels=_BY_MODE)
            for decoded, count in drafts.items():
                family.add_metric(decoded, count)
            yield family

    def _times(self) -> Iterator[Metric]:
        for name, text, histograms in (
            (
                "time_to_first_token_seconds",
                "Time from the request to the first token of a stream.",
                self._metrics.ttft,
            ),
            ("time_per_output_token_seconds", "After the first token.", self._metrics.tpot),
        ):
            family = HistogramMetricFamily(PREFIX + name, text, labels=_BY_MODE)
            for decoded, histogram in histograms.items():
                family.add_metric(decoded, histogram.cumulative(), sum_value=histogram.total)
            yield family

    def _engines(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(PREFIX + "engine_state", "1 for the engine's state.", labels=["alias", "state"])
        engines = self._scheduler.statuses()
        for engine in engines:
            for state in EngineState:
                states.add_metric([engine.alias, str(state)], float(engine.state is state))
        starts = CounterMetricFamily(PREFIX + "engine_starts", "Attempted engine starts.", labels=["alias"])
        for alias, count in self._metrics.starts.items():
            starts.add_metric([alias], count)
        exits = CounterMetricFamily(PREFIX + "engine_exits", "Failed starts and crashes.", labels=["alias", "cause"])
        for (alias, cause), count in self._metrics.exits.items():
            exits.add_metric([alias, cause], count)
        text = "1 if the requested speculation is active, 0 if not; absent while no engine is loaded."
        active = GaugeMetricFamily(PREFIX + "speculation_active", text, labels=["alias", "requested", "mode"])
        for engine in engines:
            status = engine.speculation
            if status is not None and status.requested_mode != NONE:
                active.add_metric([engine.alias, status.requested_mode, status.mode], float(bool(status.active)))
        yield from (states, starts, exits, active)

    def _conversations(self) -> Iterator[Metric]:
        text = "Slots saved at an unload, restored at a load, and failures of both."
        slots = CounterMetricFamily(PREFIX + "conversations", text, labels=["alias", "outcome"])
        for (alias, outcome), count in self._metrics.conversations.items():
            slots.add_metric([alias, outcome], count)
        size = GaugeMetricFamily(PREFIX + "conversation_bytes", "Bytes of saved slots on disk.")
        if self._metrics.conversation_bytes or self._metrics.conversations:
            size.add_metric([], self._metrics.conversation_bytes)
        text = "Seconds of prompt processing that restored slots saved, minus the time to restore them."
        won = GaugeMetricFamily(PREFIX + "conversation_seconds_won", text, labels=["alias"])
        for alias, seconds in self._metrics.conversation_seconds.items():
            won.add_metric([alias], seconds)
        yield from (slots, size, won)


def exposition(metrics: Metrics, scheduler: Scheduler) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Values(metrics, scheduler))
    return generate_latest(registry)
