"""The tap: what it reads off an answer, however the bytes are cut."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.relay.response.usage import TAIL_BYTES, Usage, UsageTap

EVENTS = [
    {"choices": [{"delta": {"role": "assistant", "content": None}}]},
    {"choices": [{"delta": {"content": "Hel"}}]},
    {"choices": [{"delta": {"content": 'a lie: "usage":{"prompt_tokens":99}'}}]},
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
    {"choices": [], "timings": {"prompt_n": 5, "cache_n": 2, "predicted_n": 3, "draft_n": 4, "draft_n_accepted": 2}},
]
STREAM = b"".join(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in EVENTS)
STREAM += b"data: [DONE]\n\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_usage_is_read_however_the_stream_is_cut(cuts: list[int]) -> None:
    """Counts come from the tail, whatever the chunks were."""
    usage_tap = UsageTap()
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(places):
        usage_tap.feed(STREAM[start:end])
    assert usage_tap.usage() == Usage(prompt_tokens=7, completion_tokens=3, drafted=4, accepted=2, cached=2)
    assert usage_tap.between_events
    assert usage_tap.size == len(STREAM)


def test_first_token_is_the_first_non_empty_delta() -> None:
    """A role, a null and an empty string are no token."""
    usage_tap = UsageTap()
    for event in ({"role": "assistant", "content": None}, {"content": ""}):
        usage_tap.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
        assert not usage_tap.first_token_seen
    usage_tap.feed(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n')
    assert usage_tap.first_token_seen


@pytest.mark.parametrize(("words", "at_once"), [(1, True), (1, False), (3000, False)])
def test_anthropics_prompt_stands_in_the_first_event(words: int, at_once: bool) -> None:
    """Cached tokens apart from the others, and out of the tail's reach when the answer is long."""
    usage = {"cache_read_input_tokens": 131, "input_tokens": 1, "output_tokens": 0}
    events = [
        {"type": "message_start", "message": {"content": [], "usage": usage}},
        *({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "word"}} for _ in range(words)),
        {"type": "message_delta", "usage": {"output_tokens": words}},
    ]
    chunks = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
    usage_tap = UsageTap()
    for chunk in [b"".join(chunks)] if at_once else chunks:
        usage_tap.feed(chunk)
    assert usage_tap.usage() == Usage(prompt_tokens=132, completion_tokens=words, cached=131)


def test_a_message_that_is_broken_off_counts_its_prompt_alone() -> None:
    """How much came of it nobody has said."""
    usage_tap = UsageTap()
    usage_tap.feed(b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":0}}}\n\n')
    assert usage_tap.usage() == Usage(prompt_tokens=7)


def test_timings_alone_give_counts() -> None:
    """Without usage the prompt is what was evaluated plus what was cached; nothing drafted stays None."""
    usage_tap = UsageTap()
    usage_tap.feed(b'{"content":"x","timings":{"prompt_n":5,"cache_n":10,"predicted_n":2}}')
    assert usage_tap.usage() == Usage(prompt_tokens=15, completion_tokens=2, drafted=None, accepted=None, cached=10)


def test_decoding_is_timed_by_the_engines_clock() -> None:
    """`predicted_ms` in seconds; the timings of one choice are not those of an answer with several."""
    for usage, decode in (
        (b"", 0.25),
        (b'"usage":{"completion_tokens":3},', 0.25),
        (b'"usage":{"output_tokens":6},', None),
    ):
        usage_tap = UsageTap()
        usage_tap.feed(b"{" + usage + b'"timings":{"prompt_n":5,"predicted_n":3,"predicted_ms":250}}')
        assert usage_tap.usage().decode == decode


@pytest.mark.parametrize("value", ["null", '"5"', "true", "-1", "NaN", "Infinity", "1" + "0" * 400])
def test_a_time_that_is_none_is_not_taken(value: str) -> None:
    """An upstream's JSON need not make sense."""
    usage_tap = UsageTap()
    usage_tap.feed(b'{"timings":{"predicted_n":3,"predicted_ms":%s}}' % value.encode())
    assert usage_tap.usage().decode is None


def test_memory_is_bounded() -> None:
    """A long stream leaves little more than its tail."""
    usage_tap = UsageTap()
    for _ in range(1000):
        usage_tap.feed(b"x" * 1000)
    assert len(usage_tap.tail) <= TAIL_BYTES + 1000


@given(st.binary(max_size=400))
def test_any_bytes_give_a_usage(data: bytes) -> None:
    """Nothing that an upstream sends makes the tap raise."""
    usage_tap = UsageTap()
    usage_tap.feed(b'"usage":' + data + b'"timings":' + data)
    assert isinstance(usage_tap.usage(), Usage)


def test_half_an_event_is_noticed() -> None:
    """An error event may follow a blank line only."""
    usage_tap = UsageTap()
    usage_tap.feed(b'data: {"a":1}\n\n')
    assert usage_tap.between_events
    usage_tap.feed(b'data: {"b"')
    assert not usage_tap.between_events


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, 4),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}, 4),
        ({"input_tokens": 9, "cache_read_input_tokens": 4}, 4),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, None),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": True}}, None),
    ],
)
def test_cached_tokens_in_each_apis_words(usage: object, cached: int | None) -> None:
    """Where timings do not tell."""
    usage_tap = UsageTap()
    usage_tap.feed(json.dumps({"usage": usage}).replace(": ", ":").encode())
    assert usage_tap.usage().cached == cached


def deltas(*texts: str | None) -> bytes:
    """Of a chat; None tells whose turn it is."""
    return b"".join(
        b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}, separators=(",", ":")).encode() + b"\n\n"
        for text in texts
    )


@pytest.mark.parametrize("size", [1, 7, 500, 100_000])
@pytest.mark.parametrize("words", [0, 1, 5, 1000])
def test_events_are_counted_as_tokens(words: int, size: int) -> None:
    """Those with text, and never more; a cut within the word `data:` loses one, but none that the tail still holds."""
    stream = deltas(None, *["w"] * words, "", "") + b"data: [DONE]\n\n"
    usage_tap = UsageTap()
    for at in range(0, len(stream), size):
        usage_tap.feed(stream[at : at + size])
    held = min(words, TAIL_BYTES // len(deltas("w")) - 3)
    cuts = len(stream) // size if size < len(stream) else 0
    assert max(held, words - cuts) <= usage_tap.tokens <= words


def test_each_event_in_a_chunk_of_its_own_is_counted() -> None:
    """As they come while an engine decodes."""
    usage_tap = UsageTap()
    for at in range(1000):
        usage_tap.feed(deltas("w"))
        if at % 100 == 50:
            usage_tap.feed(b":\n\n")
    assert usage_tap.tokens == 1000


@pytest.mark.parametrize(
    "end",
    [
        b"data: [DONE]\n\n",
        b"data: [DONE]\r\n\r\n",
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
        b'event: response.incomplete\ndata: {"type":"response.incomplete","response":{}}\n\n',
        b'data: {"response":{"output":"%s","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}\n\n'
        % (b"x" * TAIL_BYTES),
    ],
)
def test_a_stream_has_said_all_with_its_last_event(end: bytes) -> None:
    """Of every API, however long that event is; and not before it is whole."""
    usage_tap = UsageTap()
    for at, chunk in enumerate((deltas("a"), end[:-9], end[-9:-1], end[-1:])):
        assert not usage_tap.finished, at
        usage_tap.feed(chunk)
    assert usage_tap.finished


@pytest.mark.parametrize(
    "text", ["data: [DONE]", "\ndata: [DONE]\n\n", "event: message_stop\n", '"usage":{"input_tokens":1}']
)
def test_text_about_an_end_is_none(text: str) -> None:
    """Whatever an answer speaks of."""
    usage_tap = UsageTap()
    usage_tap.feed(deltas(text))
    assert not usage_tap.finished
