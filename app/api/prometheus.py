"""`GET /metrics`: the plain values of `app.records.metrics` in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
# One label, or several, -> value
_ByLabels = Mapping[Any, float]


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
        metrics, waiting = self._metrics, self._scheduler.waiting
        yield _counter("requests", "Requests by status.", ("alias", "status"), metrics.requests)
        yield _gauge("in_flight", "Requests being served now.", ("alias",), metrics.in_flight)
        yield _gauge("waiting", "Requests that wait for an engine.", ("alias",), waiting)

    def _tokens(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield _counter("prompt_tokens", "Prompt tokens.", ("alias",), metrics.tokens_in)
        yield _counter("completion_tokens", "Generated tokens.", ("alias",), metrics.tokens_out)
        yield _counter("drafted_tokens", "Tokens that a draft proposed.", _BY_MODE, metrics.drafted)
        yield _counter("accepted_tokens", "Drafted tokens that the target accepted.", _BY_MODE, metrics.accepted)

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
        engines, metrics = self._scheduler.statuses(), self._metrics
        states = {(engine.alias, state): engine.state is state for engine in engines for state in EngineState}
        yield _gauge("engine_state", "1 for the engine's state.", ("alias", "state"), states)
        yield _counter("engine_starts", "Attempted engine starts.", ("alias",), metrics.starts)
        yield _counter("engine_exits", "Failed starts and crashes.", ("alias", "cause"), metrics.exits)
        text = "1 if the requested speculation is active, 0 if not; absent while no engine is loaded."
        active = {
            (engine.alias, status.requested_mode, status.mode): bool(status.active)
            for engine in engines
            if (status := engine.speculation) is not None and status.requested_mode != NONE
        }
        yield _gauge("speculation_active", text, ("alias", "requested", "mode"), active)

    def _conversations(self) -> Iterator[Metric]:
        metrics = self._metrics
        text = "Slots saved at an unload, restored at a load, and failures of both."
        yield _counter("conversations", text, ("alias", "outcome"), metrics.conversations)
        size = {(): metrics.conversation_bytes} if metrics.conversation_bytes or metrics.conversations else {}
        yield _gauge("conversation_bytes", "Bytes of saved slots on disk.", (), size)
        text = "Seconds of prompt processing that restored slots saved, minus the time to restore them."
        yield _gauge("conversation_seconds_won", text, ("alias",), metrics.conversation_seconds)


def _counter(name: str, text: str, labels: Sequence[str], values: _ByLabels) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, text, labels=labels), values)


def _gauge(name: str, text: str, labels: Sequence[str], values: _ByLabels) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, text, labels=labels), values)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: _ByLabels) -> Metric:
    for labels, value in values.items():
        family.add_metric([labels] if isinstance(labels, str) else list(map(str, labels)), float(value))
    return family


def exposition(metrics: Metrics, scheduler: Scheduler) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Values(metrics, scheduler))
    return generate_latest(registry)
