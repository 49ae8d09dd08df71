"""The chat as a person sees it: the real program in a terminal, a gateway, a fake engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, eventually, header_only
from tests.support.screen import TerminalProgram

Make = Callable[..., Gateway]
HOSTILE = "\x1b]0;OWNED\x07\x1b[2J\x1b[31mred\x9b7m \u202eback"


def chatting(gateway: Gateway, *words: str, columns: int = 100, **env: str) -> TerminalProgram:
    config = ("--config", str(gateway.config), "--url", gateway.url)
    return TerminalProgram(gateway.folder, "chat", *words, *config, columns=columns, env=env)


@pytest.fixture
def hostile(tmp_path: Path) -> list[str]:
    """Flags of an engine whose answers begin with escape sequences."""
    (tmp_path / "said").write_text(HOSTILE, encoding="utf-8")
    return ["--say", str(tmp_path / "said")]


def said(gateway: Gateway) -> int:
    return int(gateway.metric('requests_total{alias="m",status="200"}'))


@pytest.mark.parametrize("columns", [80, 120])
def test_a_chat_answers_explains_itself_and_ends(columns: int, make_gateway: Make) -> None:
    """The only model needs no name; unknown commands are told, and go to nobody."""
    with chatting(make_gateway(), columns=columns) as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("16 tokens")
        terminal.type("/exti\r")
        terminal.see("No command /exti; /help lists them.")
        terminal.type("/help\r")
        terminal.see("stop the answer, or drop the line")
        terminal.type("/bye\r")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.screen and terminal.screen.count("tokens,") == 1


def test_a_pasted_text_is_one_message(make_gateway: Make) -> None:
    """So is what stands between three quotes, and what is typed behind Alt-Enter."""
    gateway = make_gateway()
    with chatting(gateway) as terminal:
        terminal.see("\n>")
        terminal.type("\x1b[200~one\ntwo\nthree\x1b[201~")
        terminal.see("three")
        terminal.type("\r")
        terminal.see("tokens,")
        terminal.type('"""four\rfive\rsix"""\r')
        terminal.see("tokens,", times=2)
        terminal.type("seven\x1b\reight\r")
        terminal.see("tokens,", times=3)
        terminal.type("/save said.json\r")
        terminal.see("Wrote said.json")
        terminal.type("\x04")
        assert terminal.end() == 0
    messages = json.loads((gateway.folder / "said.json").read_text())["messages"]
    asked = [message["content"] for message in messages if message["role"] == "user"]
    assert asked == ["one\ntwo\nthree", "four\nfive\nsix", "seven\neight"]


def test_ctrl_c_drops_the_line_and_then_says_how_to_leave(make_gateway: Make) -> None:
    """A conversation is worth more than a key pressed twice."""
    with chatting(make_gateway()) as terminal:
        terminal.see("\n>")
        terminal.type("half a line")
        terminal.see("half a line")
        terminal.type("\x03")
        terminal.see("\n>", times=2)
        terminal.type("\x03")
        terminal.see("Ctrl-D or /bye leaves.")
        terminal.type("still here\r")
        terminal.see("tokens,")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_stopped_answer_stays_and_typed_ahead_lines_too(make_gateway: Make) -> None:
    """Ctrl-C in the middle; the next question has what was said by then before it."""
    gateway = make_gateway(args=["--tps", "5", "--tokens", "200"])
    with chatting(gateway) as terminal:
        terminal.see("\n>")
        terminal.type("long\r")
        terminal.see("t3")
        terminal.type("/save said.json\r")
        terminal.see("/save")
        terminal.type("\x03")
        terminal.see("(stopped)")
        terminal.see("Wrote said.json")
        terminal.type("\x04")
        assert terminal.end() == 0
    text = (gateway.folder / "said.json").read_text()
    assert '"assistant"' in text and '"long"' in text


def test_ctrl_d_during_an_answer_leaves_after_it(make_gateway: Make) -> None:
    """Like any other key that is typed ahead."""
    with chatting(make_gateway(args=["--tps", "10"])) as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("t3")
        terminal.type("\x04")
        terminal.see("16 tokens,")
        assert terminal.end() == 0


@pytest.mark.parametrize("environment", [{"TERM": "xterm-256color"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_hostile_model_steers_no_terminal(
    environment: dict[str, str], hostile: list[str], make_gateway: Make
) -> None:
    """Title, screen, colour, direction: all shown."""
    with chatting(make_gateway(args=hostile), **environment) as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("␛]0;OWNED␇␛[2J␛[31mred<U+009B>7m")
        terminal.see("<U+202E>back")
        terminal.type("/bye\r")
        assert terminal.end() == 0
        assert terminal.title != "OWNED" and "\x1b[31mred" not in terminal.raw
        if "TERM" in environment and environment["TERM"] == "dumb":
            assert "\x1b" not in terminal.raw


def test_a_cold_model_shows_how_far_it_is(make_gateway: Make, tmp_path: Path) -> None:
    """Nobody looks at an empty screen while a model loads."""
    go = tmp_path / "go"
    with chatting(make_gateway(args=["--load-until", str(go)]), "m") as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("loading m")
        go.touch()
        screen = terminal.see("tokens,")
        assert "loading m" not in screen
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_gateway_that_dies_is_told_and_the_chat_goes_on(make_gateway: Make) -> None:
    """In the middle of an answer, then at the next question."""
    gateway = make_gateway(args=["--tps", "5", "--tokens", "200"])
    with chatting(gateway) as terminal:
        terminal.see("\n>")
        terminal.type("long\r")
        terminal.see("t3")
        gateway.process.kill()
        terminal.see("The answer was interrupted")
        terminal.type("again\r")
        terminal.see("No gateway answers at")
        terminal.type("\x04")
        assert terminal.end() == 0


def piped(gateway: Gateway, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "chat", *words, "--config", str(gateway.config), "--url", gateway.url]
    return subprocess.run(command, input=text, capture_output=True, text=True, env=dict(os.environ), timeout=120)


def test_a_pipe_gets_the_answer_alone(hostile: list[str], make_gateway: Make) -> None:
    """One message, one answer, no escape code; by line it is one answer a line."""
    gateway = make_gateway(args=hostile)
    done = piped(gateway, "one\n\ntwo\n")
    assert (done.returncode, done.stderr) == (0, "") and "\x1b" not in done.stdout
    assert done.stdout.count("OWNED") == 1
    eventually(lambda: said(gateway) == 1)
    assert piped(gateway, "one\ntwo\n", "m", "--lines").stdout.count("OWNED") == 2
    assert piped(gateway, "", "m", "what", "is", "it?").returncode == 0
    unknown = piped(gateway, "one\n", "no-such-model")
    assert unknown.returncode == 1 and "no-such-model" in unknown.stderr and unknown.stdout == ""


def test_who_waits_for_a_slot_is_told_how_many_are_before(make_gateway: Make, tmp_path: Path) -> None:
    """From the stream's comments; the answer takes the line's place."""
    args = ["--tps", "20", "--tokens", "160"]
    gateway = make_gateway(models={"m": {"target": {"path": str(header_only(tmp_path / "m.gguf"))}, "args": args}})
    eventually(lambda: gateway.state() == "ready")

    def read() -> None:
        with gateway.stream() as response:
            response.read()

    others = [threading.Thread(target=read) for _ in range(2)]
    for other in others:
        other.start()
    eventually(lambda: gateway.metric('waiting{alias="m"}') == 1)
    with chatting(gateway, columns=80) as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("waiting, ")
        assert re.search(r"waiting, [01] before you", terminal.screen)
        terminal.see("160 tokens", within=40)
        assert "before you" not in terminal.screen
        terminal.type("\x04")
        assert terminal.end() == 0
    for other in others:
        other.join()
