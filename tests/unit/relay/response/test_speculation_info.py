"""What a whole answer's end tells, put where clients see it; bytes that nobody asked to change stay."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.relay.response.speculation_info import asks_for_metrics, gather, with_metrics, with_speculation
from app.relay.response.usage import Usage, UsageTap

BODY = b'{"choices":[],"usage":{"completion_tokens":9},"timings":{"draft_n":12,"draft_n_accepted":7}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
DRAFTED = Usage(completion_tokens=9, drafted=12, accepted=7, decode=0.5)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize(
    ("usage", "value"),
    [
        (DRAFTED, b"draft-simple; drafted=12; accepted=7"),
        (Usage(completion_tokens=2, decode=0.5), b"draft-simple; drafted=0; accepted=0"),
        (Usage(completion_tokens=2), b"draft-simple"),
    ],
)
def test_the_header_says_what_is_known(usage: Usage, value: bytes) -> None:
    """Timings without a draft are a draft of 0; without timings, as in Anthropic's dialect, only the mode is known."""
    headers, body = with_speculation(HEADERS, BODY, mode="draft-simple", usage=usage, metrics=False)
    assert headers == [*HEADERS, (b"x-tandem-speculation", value)]
    assert body is BODY


@pytest.mark.parametrize("metrics", [True, False])
def test_what_is_no_completion_stays(metrics: bool) -> None:
    """Embeddings and token counts of the same engine."""
    assert with_speculation(HEADERS, b"{}", mode="draft-simple", usage=Usage(prompt_tokens=3), metrics=metrics) == (
        HEADERS,
        b"{}",
    )


def test_metrics_are_added_with_the_length_they_take() -> None:
    """Everything else of the body byte for byte; the fields by vLLM's names."""
    headers, body = with_speculation(HEADERS, BODY, mode="draft-simple", usage=DRAFTED, metrics=True)
    assert body.startswith(BODY[:-1])
    assert json.loads(body)["metrics"] == {
        "speculative_decoding": {
            "draft_acceptance_rate": 7 / 12,
            "num_accepted_draft_tokens": 7,
            "num_draft_tokens": 12,
        }
    }
    assert dict(headers)[b"content-length"] == str(len(body)).encode()


def test_a_body_that_came_in_chunks_needs_no_length() -> None:
    """Its headers name none."""
    headers, body = with_speculation(HEADERS[:1], BODY, mode="ngram-mod", usage=DRAFTED, metrics=True)
    assert [name for name, _ in headers] == [b"content-type", b"x-tandem-speculation"]
    assert b"metrics" in body


def test_no_timings_no_metrics() -> None:
    """An object full of nulls would help nobody."""
    assert (
        with_speculation(HEADERS, BODY, mode="draft-simple", usage=Usage(completion_tokens=2), metrics=True)[1] is BODY
    )


def test_nothing_drafted_has_no_rate() -> None:
    """0 would say that the draft is useless."""
    metrics = json.loads(with_metrics(b'{"a":1}', 0, 0))["metrics"]["speculative_decoding"]
    assert metrics == {"draft_acceptance_rate": None, "num_accepted_draft_tokens": 0, "num_draft_tokens": 0}


@given(
    st.dictionaries(st.text(), st.recursive(st.integers() | st.text(), st.lists, max_leaves=4), min_size=1, max_size=4),
    st.sampled_from(["", " ", "\r\n"]),
)
def test_any_object_keeps_what_it_had(fields: dict[str, Any], tail: str) -> None:
    """And white space after it."""
    fields.pop("metrics", None)
    body = (json.dumps(fields) + tail).encode()
    longer = with_metrics(body, 4, 1)
    assert longer.endswith(tail.encode())
    if fields:
        assert json.loads(longer) | {"metrics": 0} == fields | {"metrics": 0}
        assert json.loads(longer)["metrics"]["speculative_decoding"]["draft_acceptance_rate"] == 0.25


@pytest.mark.parametrize("body", [b"", b" ", b"{}", b"{ }", b"[1]", b"5", b'{"a"', b"}"])
def test_what_has_no_place_for_it_stays(body: bytes) -> None:
    """No upstream of ours answers so; were it to, nothing gets worse."""
    assert with_metrics(body, 4, 1) == body


@pytest.mark.parametrize(
    ("name", "value", "asks"),
    [
        (b"x-tandem-metrics", b"body", True),
        (b"x-tandem-metrics", b" Body ", True),
        (b"x-tandem-metrics", b"none", False),
        (b"x-metrics", b"body", False),
    ],
)
def test_a_header_asks_for_metrics(name: bytes, value: bytes, asks: bool) -> None:
    """Opt-in: SDKs that check a body against a schema may not like more fields."""
    assert asks_for_metrics([(b"host", b"x"), (name, value)]) is asks


def test_a_whole_answer_is_gathered() -> None:
    """The tap has seen it all."""
    usage_tap = UsageTap(streamed=False)
    assert asyncio.run(gather(pieces(BODY[:40], BODY[40:]), usage_tap)) == (BODY, True)
    assert (usage_tap.usage().drafted, usage_tap.size) == (12, len(BODY))


def test_an_answer_beyond_the_limit_is_handed_back_half_read() -> None:
    """What came is not lost, and the rest is still to come."""

    async def main() -> None:
        chunks = pieces(b"abc", b"def", b"ghi")
        assert await gather(chunks, UsageTap(), limit=4) == (b"abcdef", False)
        assert [chunk async for chunk in chunks] == [b"ghi"]

    asyncio.run(main())
