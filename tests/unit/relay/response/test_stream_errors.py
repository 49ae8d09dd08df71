"""An error event is found wherever it is cut, and everything else passes byte for byte."""

import sys
from itertools import pairwise
from types import FrameType
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from app.relay.response.stream_errors import LARGEST_BYTES, ErrorEventFilter, suspicious

TOKEN = b'data: {"choices":[{"delta":{"content":"event: error {\\"error\\": 1}"}}]}\n\n'
NAMED = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
OPENAI = b'data: {"error":{"code":500,"message":"full","type":"server_error"}}\n\n'
ANTHROPIC = b'event: error\ndata: {"code":500,"message":"full","type":"server_error"}\n\n'
OF_2025 = b'error: {"code":500,"message":"full","type":"server_error"}\n\n'


def sift(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    """As the relay does: what passed, and the error's data."""
    error_filter, passed = ErrorEventFilter(), b""
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    for start, end in pairwise(edges):
        chunk = stream[start:end]
        if error_filter.held_back or suspicious(chunk):
            chunk = error_filter.pass_on(chunk, before=passed)
        passed += chunk
        if error_filter.error is not None:
            return passed, error_filter.error
    return passed + error_filter.held_back, None


@given(st.lists(st.sampled_from([TOKEN, NAMED, b": comment\n\n", b"data: [DONE]\n\n"])), st.lists(st.integers(0, 2000)))
def test_what_is_no_error_passes_byte_for_byte(events: list[bytes], cuts: list[int]) -> None:
    """Cut anywhere, with an error's looks inside of generated text."""
    stream = b"".join(events)
    assert sift(stream, cuts) == (stream, None)


@example([TOKEN], OPENAI, [len(TOKEN) - 1])
@given(
    st.lists(st.sampled_from([TOKEN, NAMED])),
    st.sampled_from([OPENAI, ANTHROPIC, OF_2025]),
    st.lists(st.integers(0, 2000)),
)
def test_an_error_is_found_wherever_it_is_cut(before: list[bytes], event: bytes, cuts: list[int]) -> None:
    """No byte of it passes; all that came before it does."""
    stream = b"".join(before)
    passed, error = sift(stream + event, cuts)
    assert passed == stream
    assert error is not None and error == event[event.index(b"{") :].strip()


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_bytes_that_are_no_events_at_all_pass(stream: bytes, cuts: list[int]) -> None:
    """An upstream may send anything."""
    passed, error = sift(stream, cuts)
    assert error is not None or passed == stream


def test_an_error_without_an_end_is_not_kept_for_ever() -> None:
    """Memory is bounded whatever an upstream sends."""
    error_filter = ErrorEventFilter()
    assert error_filter.pass_on(b"event: error\n" + b"x" * LARGEST_BYTES, before=b"") == b""
    assert error_filter.error == b""


def test_a_usual_chunk_is_not_looked_at_twice() -> None:
    """The hot path: whole events without an error's words."""
    assert not suspicious(NAMED)
    assert suspicious(OPENAI) and suspicious(ANTHROPIC) and suspicious(OF_2025) and suspicious(b"data: {")


def lines_run(chunk: bytes) -> int:
    """How many lines of Python it takes to let a chunk pass."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    error_filter, before = ErrorEventFilter(), sys.gettrace()
    sys.settrace(trace)
    try:
        passed = error_filter.pass_on(chunk, before=b"\n\n")
    finally:
        sys.settrace(before)
    assert passed + error_filter.held_back == chunk
    return count


def test_many_small_events_cost_no_more_than_their_bytes() -> None:
    """Once a copy of the rest for each event: 2 MB of them stopped the whole gateway for five seconds."""
    assert lines_run(b":\n\n" * 100_000 + b":") == lines_run(b":\n\n" * 10 + b":")
