"""What a stream was asked for besides, and whether it told that."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.relay.buffered.choice import Aids, AnswerChoice, Piece, Verbose

TOLD = Aids(probabilities=True)


def logprob(token: int) -> dict[str, Any]:
    return {"id": token, "token": f"t{token}", "bytes": [1], "logprob": -0.5, "top_logprobs": []}


def text(text: str, *, probability: int | None = None, finish: str | None = None) -> Piece:
    logprobs = None if probability is None else {"content": [logprob(probability)]}
    return convert({"text": text, "logprobs": logprobs, "finish_reason": finish})


def said(**delta: Any) -> Piece:
    return convert({"delta": delta})


def convert(fields: dict[str, Any]) -> Piece:
    return msgspec.json.decode(json.dumps(fields), type=Piece)


def grown(aids: Aids, *pieces: tuple[Piece, Verbose | None]) -> AnswerChoice:
    choice = AnswerChoice(aids, chat=pieces[0][0].delta is not None)
    for piece, verbose in pieces:
        choice.add(piece, None, verbose)
    return choice


def logprobs(choice: AnswerChoice, stop_tokens: int = 0) -> Any:
    return json.loads(msgspec.json.encode(choice.whole(0, stop_tokens)))["logprobs"]


@pytest.mark.parametrize(
    ("post_sampling", "certain"),
    [(False, {"logprob": 0.0, "top_logprobs": []}), (True, {"prob": 1.0, "top_probs": []})],
)
def test_a_drafted_token_is_certain(post_sampling: bool, certain: dict[str, Any]) -> None:
    """As a direct answer has it; one without text too."""
    choice = grown(
        Aids(probabilities=True, post_sampling=post_sampling),
        (text("a", probability=5), Verbose([5], "a")),
        (text("é"), Verbose([6], "é")),
        (text(""), Verbose([2], "")),
        (text("", finish="stop"), Verbose(stop_type="eos")),
    )
    assert choice.in_full and choice.stop_word == ""
    assert logprobs(choice)["content"] == [
        logprob(5),
        {"id": 6, "token": "é", "bytes": [195, 169], **certain},
        {"id": 2, "token": "", "bytes": [], **certain},
    ]


def test_a_stop_words_tokens_are_taken_off() -> None:
    """As many as there are at most."""
    pieces = [(text("", probability=number), Verbose([number], "")) for number in range(3)]
    choice = grown(TOLD, *pieces, (text("", finish="stop"), Verbose(stop_type="word", stopping_word="cd")))
    assert choice.in_full and choice.stop_word == "cd"
    assert logprobs(choice, 2) == {"content": [logprob(0)]}
    assert logprobs(choice, 3) is None and logprobs(choice, 9) is None


@pytest.mark.parametrize("verbose", [None, Verbose([7], "\ufffd")])
def test_an_engine_that_does_not_tell_the_tokens_is_found_out_at_once(verbose: Verbose | None) -> None:
    """An older build; or bytes that are no character."""
    choice = grown(TOLD, (text("a"), verbose))
    assert choice.untold and not choice.in_full


@pytest.mark.parametrize(
    ("deltas", "whole"),
    [
        ([{"role": "assistant", "content": None}, {"content": "Hello my name"}, {"content": " is"}], True),
        ([{"content": " name"}, {"content": "Hello my"}], False),
        ([{"content": "Hello"}, {"content": " my name"}], False),
        ([{"reasoning_content": "Hello my"}], False),
        ([{"role": "assistant", "content": None}], False),
    ],
)
def test_a_prefilled_answer_has_its_beginning_in_its_first_text(deltas: list[dict[str, Any]], whole: bool) -> None:
    """A model that repeats it piece by piece has not been told of it."""
    choice = grown(Aids(prefill="Hello my"), *((said(**delta), None) for delta in deltas))
    assert choice.in_full == whole


@pytest.mark.parametrize(("text", "whole"), [("Hello my", False), ("Hello my name", True)])
def test_the_beginning_alone_shows_no_token(text: str, whole: bool) -> None:
    """What was generated may be held back, and lost at the limit."""
    choice = AnswerChoice(Aids(prefill="Hello my"), chat=True)
    choice.add(said(content=text), 1, None)
    choice.add(convert({"delta": {}, "finish_reason": "length"}), None, None)
    choice.ends_at(1)
    assert choice.in_full == whole
