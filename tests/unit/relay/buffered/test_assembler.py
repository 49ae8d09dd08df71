"""Streams as llama-server b11434 wrote them, and the direct answers to the same requests."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.relay.buffered.assembler import Assembly, Whole
from tests.support.answers import comparable
from tests.support.paths import DATA

RECORDED = sorted((DATA / "streams").glob("*.sse"))
CHAT = RECORDED[0].with_name("chat.sse").read_bytes()
REFUSED = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'


# Of the recorded answers with several choices: how many a prompt has, and the tokens of all (a direct answer tells
# those of the first)
SEVERAL = {"chat-n2": (2, 20, 16), "completion-prompts": (1, 5, 16)}


def assembled(*chunks: bytes, per_prompt: int = 1) -> Whole | None:
    assembly = Assembly(per_prompt)
    for chunk in chunks:
        assembly.feed(chunk)
    return assembly.whole()


def body(*chunks: bytes, per_prompt: int = 1) -> dict[str, Any]:
    whole = assembled(*chunks, per_prompt=per_prompt)
    assert whole is not None and whole.status == 200
    answer: dict[str, Any] = json.loads(whole.body)
    return answer


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def said(index: int = 0, **delta: Any) -> bytes:
    return event(choices=[{"index": index, "finish_reason": None, "delta": delta}], object="chat.completion.chunk")


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_stream_makes_the_direct_answer(path: Path) -> None:
    """Field by field and in the same order; ids and times aside, and the usage of several choices."""
    direct = json.loads(path.with_suffix(".json").read_text())
    per_prompt, *counts = SEVERAL.get(path.stem, (1,))
    answer = body(path.read_bytes(), per_prompt=per_prompt)
    if counts:
        prompt, completion = counts
        usage = answer.pop("usage")
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, completion)
        assert usage["total_tokens"] == prompt + completion
        del direct["usage"]
    assert list(answer) == list(direct)
    assert comparable(answer) == comparable(direct)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_cut_does_not_matter(path: Path) -> None:
    """Byte by byte, and in two at some four hundred places."""
    stream = path.read_bytes()
    whole = assembled(stream)
    assert assembled(*(stream[at : at + 1] for at in range(len(stream)))) == whole
    for at in range(0, len(stream), 1 + len(stream) // 400):
        assert assembled(stream[:at], stream[at:]) == whole


@given(st.data())
def test_a_stream_that_ends_early_is_no_answer(data: st.DataObject) -> None:
    """Nothing but `[DONE]` and its blank line makes it whole."""
    assert assembled(CHAT[: data.draw(st.integers(0, len(CHAT) - 1))]) is None


@example([b"data:[DONE]\n\n"])
@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_make_it_raise(chunks: list[bytes]) -> None:
    """Whatever comes is an answer or is none."""
    assert assembled(*chunks) is None
    assembled(b"data: {", *chunks, b"\n\n", DONE)


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5)


@given(st.lists(TEXTS, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_interleaved_choices_stay_apart(texts: list[list[str]], random: Any) -> None:
    """Each in its own order, whatever the order among them; sorted by index at the end."""
    queues = {index: [said(index, content=text) for text in parts] for index, parts in enumerate(texts)}
    stream = [said(index, role="assistant", content=None) for index in queues]
    while waiting := [index for index, queue in queues.items() if queue]:
        stream.append(queues[random.choice(waiting)].pop(0))
    choices = body(*stream, DONE)["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["".join(parts) for parts in texts]
    assert [choice["index"] for choice in choices] == list(range(len(texts)))


def test_usage_is_that_of_all_choices_and_timings_are_the_first_ones() -> None:
    """Each choice's stand right behind its end, and they may come in any order."""
    stream: list[bytes] = []
    for index in (1, 0, 2):
        stream += [
            said(index, content="x"),
            event(choices=[], usage={"completion_tokens": index}, timings={"n": index}),
        ]
    answer = body(*stream, DONE)
    assert (answer["usage"]["completion_tokens"], answer["timings"]) == (3, {"n": 0})


def test_tool_calls_are_put_together_by_index() -> None:
    """Arguments in pieces; a name that was told again replaces the first; an id that never comes is left out."""

    def call(index: int, **function: str) -> bytes:
        return said(tool_calls=[{"index": index, "function": function}])

    named = said(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "get"}}])
    stream = [named, call(1, name="now"), call(0, name="get_it", arguments='{"a"'), call(0, arguments=":1}")]
    (choice,) = body(*stream, DONE)["choices"]
    assert choice["message"]["content"] == ""
    assert choice["message"]["tool_calls"] == [
        {"type": "function", "function": {"name": "get_it", "arguments": '{"a":1}'}, "id": "c1"},
        {"type": "function", "function": {"name": "now", "arguments": ""}},
    ]


@pytest.mark.parametrize(("code", "status"), [(400, 400), (503, 503), (None, 500), ("x", 500), (200, 500)])
def test_an_error_in_the_stream_has_its_own_status(code: Any, status: int) -> None:
    """The very words of the event, with its code as the status, as they come in one piece."""
    error = {"error": {"code": code, "message": "Context size has been exceeded."}}
    whole = assembled(said(content="a"), event(**error))
    assert whole is not None
    assert (whole.status, json.loads(whole.body)) == (status, error)


def test_an_error_as_older_builds_write_it() -> None:
    """`error:` is the name of the field, and its value has no object around it."""
    old = b"error: " + json.dumps(json.loads(REFUSED)["error"]).encode() + b"\n\n"
    whole = assembled(old)
    assert whole is not None
    assert (whole.status, json.loads(whole.body)) == (503, json.loads(REFUSED))


def test_what_only_streams_have_is_left_out() -> None:
    """Pings, `data: null`, progress, and the timings of every token."""
    progress = event(choices=[], prompt_progress={"total": 1}, timings={"n": 1}, object="chat.completion.chunk")
    answer = body(b":\n\n", b"data: null\n\n", progress, said(content="a"), event(choices=[], timings={"n": 2}), DONE)
    assert answer["timings"] == {"n": 2}
    assert "prompt_progress" not in answer


def test_carriage_returns_and_what_nobody_knows_yet() -> None:
    """Lines may end in CRLF; a new field of the last chunk is passed on."""
    stream = said(content="a") + event(choices=[], service_tier="x") + DONE
    assert body(stream.replace(b"\n", b"\r\n"))["service_tier"] == "x"


def test_numbers_are_not_written_anew() -> None:
    """Counts and times pass as the bytes that they came as."""
    whole = assembled(said(content="a"), b'data: {"choices":[],"timings":{"ms":1.50,"n":1e2}}\n\n', DONE)
    assert whole is not None and b'"timings":{"ms":1.50,"n":1e2}' in whole.body


def in_full(*chunks: bytes) -> bool:
    """Whether an answer was told in full."""
    whole = assembled(*chunks, DONE)
    assert whole is not None
    return whole.in_full


def piece(tokens: int, index: int = 0, *, finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": index, "finish_reason": finish, "delta": delta}
    return event(choices=[choice], timings={"predicted_n": tokens})


def end(tokens: int, finish: str, index: int = 0) -> bytes:
    """As a chat ends: why, and on a chunk without a choice how far it went."""
    choice = {"index": index, "finish_reason": finish, "delta": {}}
    return event(choices=[choice]) + event(choices=[], timings={"predicted_n": tokens})


@pytest.mark.parametrize("delta", [{"content": "a"}, {"reasoning_content": "a"}, {"tool_calls": [{"index": 0}]}])
def test_a_limit_that_comes_with_the_last_text_has_cut_nothing_off(delta: dict[str, Any]) -> None:
    """The last piece goes up to the last token."""
    assert in_full(piece(1, content="a"), piece(3, **delta), end(3, "length"))


def test_a_limit_behind_the_last_text_may_have_cut_something_off() -> None:
    """A token of which nothing was sent, be it the only one, whose piece tells whose turn it is."""
    assert not in_full(piece(1, content="a"), piece(2, content="a"), end(3, "length"))
    assert not in_full(piece(1, role="assistant", content=None), end(1, "length"))
    assert not in_full(said(content="a"), event(choices=[{"index": 0, "finish_reason": "length", "delta": {}}]))


@pytest.mark.parametrize("finish", ["stop", "tool_calls"])
def test_at_any_other_end_what_was_held_back_is_sent(finish: str) -> None:
    """A stop word that is whole, or the model's own end: of these the tokens show no text."""
    assert in_full(piece(1, content="a"), end(3, finish))


def test_each_choice_has_an_end_of_its_own() -> None:
    """Whatever the order; one that was cut is enough."""
    both = [piece(1, content="a"), piece(1, 1, content="b")]
    assert in_full(*both, end(1, "length", 1), end(1, "length", 0))
    assert not in_full(*both, end(1, "length", 1), piece(2, content="c"), end(3, "length", 0))


def test_completions_tell_their_end_with_the_choice() -> None:
    """Every token has a piece there, an empty one if it is held back."""

    def text(tokens: int, text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "finish_reason": finish, "text": text}
        return event(choices=[choice], timings={"predicted_n": tokens})

    assert in_full(text(1, "a"), text(2, "b"), text(2, "", "length"))
    assert not in_full(text(1, "a"), text(2, ""), text(2, "", "length"))


def test_progress_of_the_prompt_shows_no_token() -> None:
    """Its timings are of none, so that it cannot hide what the limit has cut off."""
    progress = event(choices=[{"index": 0, "delta": {"content": "a"}}], prompt_progress={}, timings={"predicted_n": 3})
    assert not in_full(progress, end(3, "length"))


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_message_of_nothing_may_be_more_than_that(finish: str) -> None:
    """Directly the text that made no message comes as it is; of one token, the model's own end, there is none."""
    begun = piece(1, role="assistant", content=None)
    assert not in_full(begun, end(3, finish))
    assert in_full(begun, end(1, "stop"))
