"""What a request has used, told or not."""

import json

import pytest

from app.relay.record import AnswerMeter, estimated_tokens
from app.relay.response.usage import Usage

TOKEN = b'data: {"choices":[{"delta":{"content":"w"}}]}\n\n'
BODY = json.dumps({"messages": [{"role": "user", "content": "word " * 100}]}).encode()


def meter(*chunks: bytes, streamed: bool = True) -> AnswerMeter:
    made = AnswerMeter()
    made.body = BODY
    tap = made.listen(streamed=streamed)
    for chunk in chunks:
        tap.feed(chunk)
    return made


def test_a_stream_that_is_broken_off_has_used_what_came_of_it() -> None:
    """A token an event; the prompt by its size, since nobody has counted it."""
    usage = meter(TOKEN, TOKEN, TOKEN).usage()
    assert usage.completion_tokens == 3
    assert usage.prompt_tokens == len(BODY) // 4


def test_what_the_engine_has_told_is_not_estimated() -> None:
    """All of it at the end of a stream; of Anthropic's the prompt at its beginning."""
    usage_event = b'data: {"usage":{"prompt_tokens":7,"completion_tokens":9}}\n\n'
    assert meter(TOKEN, usage_event).usage() == Usage(prompt_tokens=7, completion_tokens=9)
    begun = b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":0}}}\n\n'
    text = b'data: {"type":"content_block_delta","delta":{"text":"w"}}\n\n'
    assert meter(begun, text, text).usage() == Usage(prompt_tokens=7, completion_tokens=2)


def test_who_leaves_in_the_prompt_has_used_the_prompt() -> None:
    """The engine had begun, or its headers would not have come; in the queue nothing was used."""
    assert meter().usage() == Usage(prompt_tokens=len(BODY) // 4, completion_tokens=0)
    assert AnswerMeter().usage() == Usage()


@pytest.mark.parametrize("body", [b'{"error":{"message":"no"}}', b'{"tokens":[1,2]}', b'{"content":"data: data: "}'])
def test_an_answer_in_one_piece_that_tells_nothing_has_used_nothing(body: bytes) -> None:
    """Refusals, and what is no completion."""
    assert meter(body, streamed=False).usage() == Usage()


def test_images_are_no_text() -> None:
    """Base64 is left out of the estimate, and a body of any size is looked at for a moment only."""
    assert estimated_tokens(b'{"url":"data:image/png;base64,' + b"A" * 100_000 + b'"}') < 20
    assert estimated_tokens(b"a b " * (16 << 20)) == (1 << 20) // 4
    assert estimated_tokens(None) == 0


def test_only_a_stream_has_a_last_event() -> None:
    """No answer in one piece, and none that has not begun."""
    done = b"data: [DONE]\n\n"
    assert meter(TOKEN, done).last_event_passed
    assert not meter(TOKEN).last_event_passed
    assert not meter(done, streamed=False).last_event_passed
    assert not AnswerMeter().last_event_passed
