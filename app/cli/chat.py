"""A chat on the terminal, streamed through a running gateway; one answer if stdin is not a terminal.

Begin with `chat`. `conversation` asks and prints, `chat_input` reads the keyboard, `chat_commands` holds `/help` and
similar commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cli.chat_client import CHECK_ADDRESS, START_ONE, ChatClient, read_key, root_of
from app.cli.chat_commands import ChatCommands, LeaveChatError, is_command
from app.cli.chat_input import line_reader, messages, type_ahead_kept
from app.cli.conversation import ChatAnswer, ChatConversation
from app.cli.user_input import Outcome, choose_name, question
from app.errors import TandemError, UpstreamError
from app.terminal import is_terminal, paint, say

__all__ = ["chat", "read_key"]


def chat(
    root: str,
    alias: str | None = None,
    system: str | None = None,
    key: str | None = None,
    prompt: str | None = None,
    *,
    by_line: bool = False,
    wishes: dict[str, Any] | None = None,
    thoughts: bool = True,
    history: Path | None = None,
    ours: bool = True,
) -> Outcome:
    """Chats until the end of input. Raises UpstreamError if the gateway cannot be used at all.

    With `prompt`, or without a terminal at stdin, it asks one question. With `by_line` each line is one.
    """
    with ChatClient(root_of(root), key, remedy=START_ONE if ours else CHECK_ADDRESS) as client:
        alias = alias or only_model(client)
        client.row(alias)
        conversation = ChatConversation(client, alias, system=system, wishes=wishes)
        conversation.thoughts = thoughts
        return talk(conversation, prompt, by_line=by_line, history=history)


def talk(
    conversation: ChatConversation, prompt: str | None = None, *, by_line: bool = False, history: Path | None = None
) -> Outcome:
    """As `chat`, with a model that exists."""
    if is_terminal(sys.stdin) and prompt is None:
        _converse(conversation, history)
        return 0
    if by_line:
        return _worst([_outcome(answer) for answer in _answers(conversation)])
    return _outcome(conversation.ask(question(prompt)))


def only_model(client: ChatClient) -> str:
    """Returns the only model, or the one that a person picks. Raises UpstreamError with the names."""
    names: list[str] = [row["id"] for row in client.models()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UpstreamError(f"The gateway at {client.root} has no model that this key may use.")
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise UpstreamError(f"Name a model; the gateway has {', '.join(names)}.")
    return choose_name("model", names)


def _answers(conversation: ChatConversation) -> Iterator[ChatAnswer]:
    """Prints one answer per line. `/reset` clears the conversation."""
    for line in sys.stdin:
        if line.strip() == "/reset":
            conversation.reset()
        elif line.strip():
            yield conversation.ask(line.strip())


def _outcome(answer: ChatAnswer) -> Outcome:
    return 130 if answer.stopped else 1 if answer.error is not None else 0


def _worst(outcomes: list[Outcome]) -> Outcome:
    return max(outcomes, default=0)


def _converse(conversation: ChatConversation, history: Path | None) -> None:
    say(f"Chatting with {conversation.alias}. /help lists commands; Ctrl-C stops an answer, Ctrl-D leaves.")
    commands = ChatCommands(conversation, _edited)
    for text in messages(line_reader(history)):
        try:
            with type_ahead_kept():
                _respond(conversation, commands, text)
        except LeaveChatError:
            return
        except KeyboardInterrupt:
            print()
        except TandemError as error:
            say(str(error), sys.stderr)


def _respond(conversation: ChatConversation, commands: ChatCommands, text: str) -> None:
    message: str | None = text.removeprefix("/") if text.startswith("//") else text
    if is_command(text) and "\n" not in text:
        message = commands.run(text)
    if message:
        answer = conversation.ask(message)
        if figures := answer.figures():
            print(paint(figures, "dim"))
    print()


def _edited() -> str | None:
    import click

    return click.edit(extension=".md", require_save=True)
