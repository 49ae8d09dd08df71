"""Bodies that are kept for administrators: how many, how large, and without secrets."""

import json
from typing import Any

import pytest

from app.relay.captures import LARGEST, REDACTED, AnswerCapture, Captures, Exchange

# Of each kind one, put together here so that no scanner of secrets takes them for real ones
SECRETS = (
    "lt-" + "a1B2" * 10,
    "sk-proj-" + "a1B2" * 8,
    "hf_" + "aBcD" * 8,
    "ghp_" + "x9Y8" * 8,
    "gsk_" + "x9Y8" * 8,
    "AKIA" + "ABCD1234" * 2,
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
)


def captured(captures: Captures, request: Any, response: bytes = b"{}", *, streamed: bool = False) -> tuple[str, str]:
    capture = captures.shown(Exchange(json.dumps(request).encode(), response, streamed, cut=False))
    return capture.request, capture.response


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_redacted_wherever_it_stands(secret: str) -> None:
    texts = (f"My key is {secret}.", json.dumps({"tool": secret}), f"export KEY={secret}")
    for text in texts:
        shown = "".join(captured(Captures(1), {"messages": [{"role": "user", "content": text}]}))
        assert REDACTED in shown and secret.splitlines()[-1][:12] not in shown, text


@pytest.mark.parametrize(
    "text",
    [
        '{"api_key": "correct horse"}',
        '{"nested": "{\\"password\\": \\"correct horse\\"}"}',
        "Authorization: Bearer correct-horse",
        "client_secret=correct-horse&a=1",
        "AWS_SECRET_ACCESS_KEY=correct-horse",
        "HF_TOKEN=correct-horse-battery",
        "x-api-key: correct-horse",
        "{'session_token': 'correct horse'}",
        "postgres://me:correct-horse@db/x",
        "password: 'correct horse'",
    ],
)
def test_what_a_name_calls_secret_is_redacted(text: str) -> None:
    shown = Captures(1).redacted(text)
    assert "horse" not in shown and REDACTED in shown, shown


def test_secrets_of_the_settings_are_redacted_whatever_they_look_like() -> None:
    captures = Captures(1, ["some plain words"])
    assert captures.redacted("I say some plain words.") == f"I say {REDACTED}."


def test_ordinary_text_stays_as_it_is() -> None:
    """A count of tokens is no token, and a question about passwords is no password."""
    for text in (
        '{"max_tokens": 5, "usage": {"completion_tokens": 12}}',
        "How do I choose a password?",
        '{"logprobs": {"content": [{"token": "horse", "bytes": [104]}]}, "eos_token": "</s>"}',
        "sk-ip the lt-trees; https://example.org/a@b",
        "The secret of a good soup",
    ):
        assert Captures(1).redacted(text) == text


def test_media_are_counted_and_not_kept() -> None:
    request, _ = captured(Captures(1), {"image_url": {"url": "data:image/png;base64," + "A" * 5000}})
    assert "AAAA" not in request and "5000 characters of base64" in request


def test_of_a_stream_the_text_is_kept() -> None:
    """A secret that lies across its events is found."""
    secret = SECRETS[0]
    deltas = [{"reasoning_content": "Hm."}, {"content": "It is "}, {"content": secret[:9]}, {"content": secret[9:]}]
    lines = [f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n" for delta in deltas]
    _, response = captured(Captures(1), {}, ("".join(lines) + "data: [DONE]\n\n").encode(), streamed=True)
    assert response == f"\n\n[thoughts]\nHm.\n\n[text]\nIt is {REDACTED}"
    assert captured(Captures(1), {}, b"no events", streamed=True)[1] == "no events"
    odd = (7, {"choices": 5}, {"choices": [3]}, {"choices": [{"delta": {"tool_calls": [5]}}]}, {"content": "x"})
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in odd).encode()
    assert captured(Captures(1), {}, stream, streamed=True)[1] == "x"


def test_the_last_are_kept_and_none_without_the_setting() -> None:
    captures = Captures(2)
    exchange = Exchange(b"{}", b"{}", streamed=False, cut=False)
    for number in (1, 2, 3):
        captures.add(number, exchange)
    assert [captures.get(number) is not None for number in (1, 2, 3)] == [False, True, True]
    captures.configure(1)
    assert captures.get(2) is None and captures.get(3) is not None
    captures.configure(0)
    captures.add(4, exchange)
    assert captures.get(3) is None and captures.get(4) is None and captures.begin() is None


def test_a_large_body_is_cut_and_that_is_said() -> None:
    capture = AnswerCapture()
    capture.restart(streamed=False)
    for _ in range(3):
        capture.feed(b"x" * (LARGEST // 2))
    exchange = capture.exchange(b"{}")
    assert len(exchange.response) == LARGEST and exchange.cut
    capture.restart(streamed=True)
    assert capture.exchange(None) == Exchange(b"", b"", streamed=True, cut=False)


@pytest.mark.parametrize(
    "unit", ["a-", "eyJ-", "eyJaaaaaaaa.", 'password:\\"', "://a:b", "-----BEGIN ", "Bearer ", '\\"']
)
def test_no_text_takes_long(unit: str) -> None:
    """A client cannot hold up the gateway by what it writes: the whole of the largest body within a test's time."""
    assert Captures(1).redacted(unit * (LARGEST // len(unit)))
