"""`/metrics` as a scraper reads it: names and labels are a promise, dashboards hold them."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.prometheus import exposition
from app.records.metrics import TPOT_BUCKETS, TTFT_BUCKETS, Finished, Metrics
from app.scheduler.engine_status import EngineStatus
from app.speculation.status import Status
from app.supervisor.states import EngineState

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scheduler(**states: EngineState) -> Any:
    speculation = Status("ngram-mod", active=True, mode="ngram-mod")
    engines = [EngineStatus(alias, state, speculation=speculation) for alias, state in states.items()]
    return SimpleNamespace(statuses=lambda: engines, waiting=dict.fromkeys(states, 2))


def scraped(metrics: Metrics, **states: EngineState) -> Samples:
    text = exposition(metrics, scheduler(**states)).decode()
    return {
        (sample.name.removeprefix("llama_tandem_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def used() -> Metrics:
    metrics = Metrics()
    tokens = {"prompt_tokens": 10, "completion_tokens": 4, "drafted": 6, "accepted": 3}
    metrics.finished(Finished("a", 200, 2.0, ttft=0.5, mode="ngram-mod", **tokens))  # type: ignore[arg-type]
    metrics.finished(Finished("a", 503, 0.1))
    metrics.in_flight["a"] = 1
    metrics.starts["a"] = 3
    metrics.exits["a", "killed"] = 2
    return metrics


def test_every_value_has_its_name_and_its_labels(used: Metrics) -> None:
    """All of them at once: a renamed metric is an empty panel somewhere."""
    samples = scraped(used, a=EngineState.READY)
    assert of(samples, "requests_total", alias="a", status="200") == 1
    assert of(samples, "requests_total", alias="a", status="503") == 1
    assert of(samples, "in_flight", alias="a") == 1
    assert of(samples, "waiting", alias="a") == 2
    assert of(samples, "prompt_tokens_total", alias="a") == 10
    assert of(samples, "completion_tokens_total", alias="a") == 4
    assert of(samples, "drafted_tokens_total", alias="a", mode="ngram-mod") == 6
    assert of(samples, "accepted_tokens_total", alias="a", mode="ngram-mod") == 3
    assert of(samples, "time_to_first_token_seconds_sum", alias="a", mode="ngram-mod") == 0.5
    assert of(samples, "time_per_output_token_seconds_sum", alias="a", mode="ngram-mod") == 0.5
    assert of(samples, "engine_starts_total", alias="a") == 3
    assert of(samples, "engine_exits_total", alias="a", cause="killed") == 2
    assert of(samples, "speculation_active", alias="a", requested="ngram-mod", mode="ngram-mod") == 1
    assert {name for name, _ in samples} == {
        *("requests_total", "in_flight", "waiting"),
        *("prompt_tokens_total", "completion_tokens_total", "drafted_tokens_total", "accepted_tokens_total"),
        *(f"time_to_first_token_seconds_{part}" for part in ("bucket", "count", "sum")),
        *(f"time_per_output_token_seconds_{part}" for part in ("bucket", "count", "sum")),
        *("engine_state", "engine_starts_total", "engine_exits_total", "speculation_active"),
    }


def test_buckets_are_whole_and_end_in_infinity(used: Metrics) -> None:
    """`histogram_quantile` needs every bound, cumulative, and +Inf equal to the count."""
    samples = scraped(used)
    for name, bounds in (
        ("time_to_first_token_seconds", TTFT_BUCKETS),
        ("time_per_output_token_seconds", TPOT_BUCKETS),
    ):
        counts = {
            float(dict(labels)["le"]): value
            for (sample, labels), value in samples.items()
            if sample == f"{name}_bucket"
        }
        assert sorted(counts) == [*bounds, float("inf")]
        assert [counts[bound] for bound in sorted(counts)] == [float(bound >= 0.5) for bound in sorted(counts)]
        assert counts[float("inf")] == of(samples, f"{name}_count", alias="a", mode="ngram-mod")


@pytest.mark.parametrize("state", EngineState)
def test_an_engine_is_in_one_state(state: EngineState) -> None:
    """One row a state, 1 for the one that is true: an alert can sum over them."""
    samples = scraped(Metrics(), a=state)
    rows = {dict(labels)["state"]: value for (name, labels), value in samples.items() if name == "engine_state"}
    assert rows == {str(other): float(other is state) for other in EngineState}


def test_plain_decoding_and_servers_of_others_are_told_apart() -> None:
    """`none` is a mode to compare with; of a server of others the mode is not known."""
    metrics = Metrics()
    metrics.finished(Finished("a", 200, 2.0, ttft=0.5, mode="none"))
    metrics.finished(Finished("b", 200, 2.0, ttft=0.25))
    samples = scraped(metrics)
    assert of(samples, "time_to_first_token_seconds_sum", alias="a", mode="none") == 0.5
    assert of(samples, "time_to_first_token_seconds_sum", alias="b", mode="") == 0.25


def test_nothing_yet_is_a_page_all_the_same() -> None:
    """Names and help texts stand there from the first scrape on."""
    assert scraped(Metrics()) == {}
    assert b"# TYPE llama_tandem_requests_total counter" in exposition(Metrics(), scheduler())


def test_any_name_of_a_model_survives(used: Metrics) -> None:
    """Quotes and backslashes are allowed in names."""
    alias = 'org/a"b\\c'
    used.in_flight[alias] = 7
    assert of(scraped(used), "in_flight", alias=alias) == 7
