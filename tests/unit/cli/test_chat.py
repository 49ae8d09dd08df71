"""The chat in the terminal, against a gateway that is a function."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.cli.chat import chat, read_key
from app.cli.chat_client import root_of
from app.cli.conversation_commands import wishes_of
from app.errors import ConfigError, UpstreamError, UpstreamUnreachableError

Reply = Callable[[], httpx2.Response]
Run = Callable[..., list[Any]]
CLIENT = httpx2.Client


class Stream(httpx2.SyncByteStream):
    """Lines of an answer; an exception among them is raised."""

    def __init__(self, *lines: str | BaseException) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            if isinstance(line, BaseException):
                raise line
            yield line.encode()


def said(*words: str) -> str:
    return "".join(f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n" for word in words)


def streamed(*lines: str | BaseException) -> Reply:
    return lambda: httpx2.Response(200, stream=Stream(*lines))


def failed(status: int, message: str) -> Reply:
    return lambda: httpx2.Response(status, json={"error": {"message": message}})


@pytest.fixture
def codes() -> list[int]:
    """What each chat ended with."""
    return []


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> Run:
    """`talk("typed\\n", reply, ...)` gives the messages of each request; replies follow each other."""

    def run(
        typed: str, *replies: Reply, alias: str = "org/m", system: str | None = None, by_line: bool = True, **more: Any
    ) -> list[Any]:
        conversations: list[Any] = []
        coming = iter(replies)

        def answer(request: httpx2.Request) -> httpx2.Response:
            if request.method == "GET":
                known = request.url.path == f"/v1/models/{alias}"
                return httpx2.Response(200, json={}) if known else failed(404, f"no {request.url.path}")()
            body = json.loads(request.read())
            assert (request.url.path, body["model"], body["stream"]) == ("/v1/chat/completions", alias, True)
            conversations.append([(message["role"], message["content"]) for message in body["messages"]])
            return next(coming)()

        transport = httpx2.MockTransport(answer)
        monkeypatch.setattr(httpx2, "Client", lambda **more: CLIENT(transport=transport, **more))
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        codes.append(chat("http://gateway", alias, system, by_line=by_line, **more))
        return conversations

    return run


def test_only_answers_are_printed_where_nobody_types(talk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """`echo question | llama-tandem chat m` is the answer and nothing else, thoughts left out."""
    thought = 'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n'
    end = 'data: {"choices":[],"usage":{}}\n\ndata: [DONE]\n\n'
    talk("Hello\n", streamed(": waiting for the engine\n\n", thought, said("Good ", "day."), end))
    assert capsys.readouterr() == ("Good day.\n", "")


def test_what_was_said_is_said_again_with_each_question(talk: Run) -> None:
    """The system message stays through /reset; empty lines ask nothing."""
    replies = [streamed(said("one")), streamed(said("two")), streamed(said("three"))]
    first, second, third = talk("a\n\n  \nb\n/reset\nc\n", *replies, system="Be brief.")
    system = ("system", "Be brief.")
    assert first == [system, ("user", "a")]
    assert second == [system, ("user", "a"), ("assistant", "one"), ("user", "b")]
    assert third == [system, ("user", "c")]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (failed(503, "It is loading."), "It is loading."),
        (lambda: httpx2.Response(502, text="<html>"), "The gateway answered 502: <html>"),
        (streamed(said("half"), 'data: {"error":{"message":"It died."}}\n\n'), "It died."),
        (streamed(said("half"), 'data: {"error":"In a word."}\n\n'), "In a word."),
        (streamed(said("half"), httpx2.RemoteProtocolError("cut")), "has closed the connection."),
        (streamed(said("half"), "data: {half\n\n"), "The answer was interrupted"),
    ],
)
def test_an_answer_that_fails_is_told_and_forgotten(
    reply: Reply, words: str, talk: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr; the chat goes on, and the failed question is not repeated."""
    conversations = talk("a\nb\n", reply, streamed(said("two")))
    assert conversations[1] == [("user", "b")]
    out, err = capsys.readouterr()
    assert words in err
    assert out.endswith("two\n")


def test_an_interrupt_stops_the_answer_and_not_the_chat(talk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C while it streams: what was said by then stays, so that "go on" means something."""
    conversations = talk("a\nb\n", streamed(said("half"), KeyboardInterrupt()), streamed(said("two")))
    assert conversations[1] == [("user", "a"), ("assistant", "half"), ("user", "b")]
    assert capsys.readouterr() == ("half\ntwo\n", "(stopped)\n")


def test_a_choice_without_a_delta_says_nothing(talk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Servers end a stream in many ways."""
    last = 'data: {"choices":[{"delta":null,"finish_reason":"stop"}]}\n\ndata: {"choices":null}\n\n'
    talk("a\n", streamed(said("all"), last))
    assert capsys.readouterr().out == "all\n"


@pytest.mark.parametrize("alias", ["org/m:tag", "a#b", "a?b=c", "a%2Fb"])
def test_any_name_is_asked_for_as_it_is(alias: str, talk: Run) -> None:
    """Signs of a URL may stand in a model's name."""
    assert talk("a\n", streamed(said("one")), alias=alias) == [[("user", "a")]]


def test_all_of_stdin_is_one_message(talk: Run, codes: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """`cat main.py | llama-tandem chat m`; with a PROMPT, that comes last."""
    assert talk("a\n\n  b\n/reset\n", streamed(said("one")), by_line=False) == [[("user", "a\n\n  b\n/reset")]]
    assert talk("text\n", streamed(said("one")), by_line=False, prompt="sum up") == [[("user", "text\n\nsum up")]]
    assert (codes, capsys.readouterr().out) == ([0, 0], "one\none\n")
    with pytest.raises(UpstreamError, match="stdin is empty"):
        talk(" \n", by_line=False)


@pytest.mark.parametrize(
    ("reply", "code", "out"),
    [
        (streamed(said("all")), 0, "all\n"),
        (failed(503, "It is loading."), 1, ""),
        (streamed(said("half"), httpx2.RemoteProtocolError("cut")), 1, "half\n"),
        (streamed(said("half"), KeyboardInterrupt()), 130, "half\n"),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    reply: Reply, code: int, out: str, talk: Run, codes: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script need not read the answer for it."""
    talk("", reply, by_line=False, prompt="hello")
    assert (codes, capsys.readouterr().out) == ([code], out)


def test_what_a_model_says_cannot_steer_the_terminal(talk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Titles, colours, the clipboard: shown, in answers and in errors, however the sequence is cut."""
    talk("a\n", streamed(said("\x1b", "]0;OWNED", "\x07\x1b[2J", "\x9b31m\u202e")))
    assert capsys.readouterr().out == "␛]0;OWNED␇␛[2J<U+009B>31m<U+202E>\n"
    talk("a\n", failed(500, "no \x1b[31mmodel"))
    assert capsys.readouterr().err == "no ␛[31mmodel\n"


def test_an_answer_that_was_cut_or_calls_a_tool_says_so(talk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A call without a text is no answer to repeat."""
    cut = 'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n'
    talk("a\n", streamed(said("half"), cut))
    out, err = capsys.readouterr()
    assert out == "half\n" and "cut off" in err
    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    tool = f"data: {json.dumps({'choices': [{'delta': {'tool_calls': [call]}}]})}\n\n"
    conversations = talk("a\nb\n", streamed(tool), streamed(said("two")))
    assert conversations[1] == [("user", "a"), ("user", "b")]
    out, err = capsys.readouterr()
    assert out == "two\n" and 'weather({"city": "Rome"})' in err


def test_options_are_fields_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are given."""
    assert wishes_of(0.5, None) == {"temperature": 0.5} and wishes_of(None, 7) == {"max_tokens": 7}


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("127.0.0.1:25840", "http://127.0.0.1:25840"),
        ("http://box:1/v1/", "http://box:1"),
        ("https://box/llm", "https://box/llm"),
        ("box", "http://box"),
    ],
)
def test_an_address_needs_no_scheme(given: str, root: str) -> None:
    """As curl takes it; `/v1` is what other clients want."""
    assert root_of(given) == root


def test_a_model_that_the_gateway_does_not_know_ends_the_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is typed, in the gateway's words."""
    real = httpx2.Client
    transport = httpx2.MockTransport(lambda _: failed(404, "Model 'x' not found.")())
    monkeypatch.setattr(httpx2, "Client", lambda **more: real(transport=transport, **more))
    with pytest.raises(UpstreamError, match="not found"):
        chat("http://gateway", "x", None)


def test_no_gateway_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address that was tried."""

    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    real = httpx2.Client
    monkeypatch.setattr(httpx2, "Client", lambda **more: real(transport=httpx2.MockTransport(refuse), **more))
    with pytest.raises(UpstreamUnreachableError, match=r"http://gateway .*llama-tandem serve"):
        chat("http://gateway", "m", None)


def test_an_address_that_is_none_is_named() -> None:
    """A typing error in --url."""
    with pytest.raises(UpstreamUnreachableError, match="http://gateway:80x0"):
        chat("http://gateway:80x0", "m", None)


@pytest.mark.parametrize("name", ["not-there", "~nobody-of-this-name/key"])
def test_a_key_file_that_cannot_be_read_is_named(name: str) -> None:
    """A missing file, and a home that is nobody's."""
    with pytest.raises(ConfigError, match=f"--key-file: {name}: cannot be read"):
        read_key(Path(name))
