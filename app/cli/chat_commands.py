"""The chat's own commands, which begin with a slash."""

from __future__ import annotations

import base64
import json
import mimetypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.cli.conversation import ChatConversation
from app.errors import UpstreamError
from app.terminal import say

HELP = """\
/help, /?              show this list
/bye, /exit, /quit     leave, as Ctrl-D does
/reset                 clear the conversation; the system message stays
/system [TEXT]         set the system message; without TEXT, show it
/model [ALIAS]         change the model; without ALIAS, list models
/set NAME VALUE        set a request field, such as /set temperature 0.7
/set [NAME]            show the set fields; with NAME, unset it
/stats                 show the speed of the last answer
/retry                 ask the last question again
/edit                  write the next message in $EDITOR
/image FILE            send an image with the next message
/copy                  copy the last answer to the clipboard
/save FILE             save the conversation
/load FILE             continue a saved conversation
\"\"\"                    begin and end a message of several lines
Alt-Enter              begin another line, as a line's last \\ does
//                     begin a message with a slash
Ctrl-C                 stop the answer, or drop the line"""
# Words with which people try to leave
_LEAVE = ("/bye", "/exit", "/quit", "exit", "quit")


class LeaveChatError(Exception):
    """Raised when the user leaves the chat."""


def is_command(line: str) -> bool:
    """Tells whether a line is a command, not a message: `/etc/hosts says` is a message."""
    word = line.split(maxsplit=1)[0] if line.strip() else ""
    return line.strip() in _LEAVE or (word.startswith("/") and "/" not in word[1:])


class ChatCommands:
    """Runs commands. `edit` returns a text that the user has written in an editor."""

    def __init__(self, conversation: ChatConversation, edit: Callable[[], str | None]) -> None:
        self._conversation = conversation
        self._edit = edit

    def run(self, line: str) -> str | None:
        """Returns a message to send, or None. Raises LeaveChatError, and other TandemErrors if a command fails."""
        word, _, rest = line.strip().partition(" ")
        if line.strip() in _LEAVE:
            raise LeaveChatError
        known: dict[str, Callable[[str], str | None]] = {
            "/help": lambda _: _shown(HELP),
            "/?": lambda _: _shown(HELP),
            "/reset": self._reset,
            "/system": self._system,
            "/model": self._model,
            "/set": self._set,
            "/stats": self._stats,
            "/retry": self._retry,
            "/edit": lambda _: self._edit(),
            "/image": self._image,
            "/copy": self._copy,
            "/save": self._save,
            "/load": self._load,
        }
        if word not in known:
            raise UpstreamError(f"No command {word}; /help lists them.")
        return known[word](rest.strip())

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        _shown("Forgotten.")

    def _system(self, text: str) -> None:
        if text:
            self._conversation.set_system(None if text in ('""', "''") else text.strip('"'))
            return
        first = self._conversation.messages[:1]
        system = first and first[0]["role"] == "system"
        _shown(first[0]["content"] if system else 'No system message. /system TEXT sets one, /system "" removes it.')

    def _model(self, alias: str) -> None:
        if alias:
            row = self._conversation.client.row(alias)
            self._conversation.alias = alias
            _shown(f"Continuing with {row.get('id', alias)}.")
            return
        for row in self._conversation.client.models():
            mark = "*" if row["id"] == self._conversation.alias else " "
            _shown(f"{mark} {row['id']}  {row.get('state', '')}")

    def _set(self, text: str) -> None:
        name, _, value = text.partition(" ")
        wishes = self._conversation.wishes
        if not name:
            for field, setting in wishes.items():
                _shown(f"{field}: {json.dumps(setting)}")
            _shown(f"thoughts: {'on' if self._conversation.thoughts else 'off'}")
        elif name == "thoughts":
            self._conversation.thoughts = value.strip() != "off"
        elif name in ("model", "messages", "stream"):
            raise UpstreamError(f"{name} is set by the chat; /model changes the model.")
        elif not value:
            wishes.pop(name, None)
        else:
            wishes[name] = _value(value.strip())

    def _stats(self, _: str) -> None:
        last = self._conversation.last
        _shown((last.figures() if last else "") or "No answer has reported its speed yet.")

    def _retry(self, _: str) -> None:
        if self._conversation.retry() is None:
            raise UpstreamError("There is no question to ask again.")

    def _image(self, name: str) -> None:
        if not name:
            raise UpstreamError("/image takes the name of a file.")
        kind = mimetypes.guess_type(name)[0] or "image/png"
        data = base64.b64encode(_read(name)).decode()
        self._conversation.images.append(f"data:{kind};base64,{data}")
        _shown(f"{Path(name).name} goes with the next message.")

    def _copy(self, _: str) -> None:
        last = self._conversation.last
        if last is None or not last.text:
            raise UpstreamError("There is no answer to copy.")
        tools = (["wl-copy"], ["xclip", "-selection", "clipboard"], ["xsel", "-ib"], ["pbcopy"], ["clip.exe"])
        for words in tools:
            if shutil.which(words[0]):
                done = subprocess.run(words, input=last.text.encode(), capture_output=True)
                if done.returncode == 0:
                    _shown("Copied.")
                    return
        raise UpstreamError("No tool for the clipboard works here: install wl-copy, xclip or xsel.")

    def _save(self, name: str) -> None:
        if not name:
            raise UpstreamError("/save takes the name of a file.")
        saved = {"model": self._conversation.alias, "messages": self._conversation.messages}
        path = Path(name).expanduser()
        try:
            path.write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UpstreamError(f"{path}: cannot be written: {error.strerror}") from None
        _shown(f"Wrote {path}.")

    def _load(self, name: str) -> None:
        if not name:
            raise UpstreamError("/load takes the name of a file.")
        try:
            messages = json.loads(_read(name))["messages"]
            if not all(isinstance(message["role"], str) and "content" in message for message in messages):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise UpstreamError(f"{name}: is not a conversation that /save has written.") from None
        self._conversation.reset()
        self._conversation.messages = list(messages)
        _shown(f"Continuing after {len(messages)} messages.")


def _read(name: str) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UpstreamError(f"{name}: cannot be read: {reason}") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"on": True, "off": False}.get(text, text)


def _shown(text: str) -> None:
    say(text)
