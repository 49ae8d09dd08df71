"""An interactive chat in the terminal, streamed through a running gateway.

Ctrl-C stops an answer, Ctrl-D ends the chat; `/reset` forgets what was said. Where stdin is no terminal each line
is one message, and only the answers are printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from app.errors import ConfigError, UpstreamError, UpstreamUnreachableError

Message = dict[str, str]


def chat(root: str, alias: str, system: str | None, key: str | None = None) -> None:
    """Returns at the end of input; raises UpstreamError where the gateway cannot be used at all."""
    start: list[Message] = [{"role": "system", "content": system}] if system else []
    said = list(start)
    interactive = sys.stdin.isatty()
    with _client(root, key) as client:
        _known(client, root, alias)
        if interactive:
            print(f"Chatting with {alias}. Ctrl-C stops an answer, Ctrl-D ends the chat, /reset starts anew.")
        for line in _lines(interactive):
            if line == "/reset":
                said = list(start)
                continue
            said.append({"role": "user", "content": line})
            answer = _answer(client, alias, said)
            if answer is None:
                said.pop()
            else:
                said.append({"role": "assistant", "content": answer})


def read_key(path: Path) -> str:
    """Raises ConfigError."""
    try:
        return path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        raise ConfigError([f"--key-file: {path}: cannot be read: {error}"]) from None


def _client(root: str, key: str | None) -> httpx2.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx2.Client(base_url=root, headers=headers, timeout=httpx2.Timeout(None, connect=5), trust_env=False)
    except httpx2.InvalidURL as error:
        raise UpstreamUnreachableError(f"{root} is no address of a gateway: {error}") from None


def _known(client: httpx2.Client, root: str, alias: str) -> None:
    try:
        response = client.get(f"/v1/models/{quote(alias)}")
    except httpx2.HTTPError as error:
        raise UpstreamUnreachableError(
            f"No gateway answers at {root} ({error}). Start one: llama-tandem serve"
        ) from None
    if response.status_code != 200:
        raise UpstreamError(_message(response.text, response.status_code))


def _lines(interactive: bool) -> Iterator[str]:
    if interactive:
        import readline  # noqa: F401 - line editing and history for input()
    while True:
        try:
            line = input("\n> " if interactive else "").strip()
        except EOFError:
            if interactive:
                print()
            return
        except KeyboardInterrupt:
            print()
            return
        if line:
            yield line


def _answer(client: httpx2.Client, alias: str, said: list[Message]) -> str | None:
    """Prints the answer as it comes; None where it failed or was stopped."""
    body = {"model": alias, "messages": said, "stream": True}
    parts: list[str] = []
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                print(_message(response.read().decode(), response.status_code), file=sys.stderr)
                return None
            for event in _events(response.iter_lines()):
                if "error" in event:
                    print(f"\n{_words(event['error'])}", file=sys.stderr)
                    return None
                for choice in event.get("choices") or ():
                    _say(choice.get("delta") or {}, parts)
    except (httpx2.HTTPError, ValueError) as error:  # ValueError: an event that is no JSON
        print(f"\nThe answer broke off: {error}", file=sys.stderr)
        return None
    except KeyboardInterrupt:
        print("\n(stopped)")
        return None
    print()
    return "".join(parts)


def _say(delta: dict[str, Any], parts: list[str]) -> None:
    thought, content = delta.get("reasoning_content"), delta.get("content")
    if thought and sys.stdout.isatty():
        print(f"\033[2m{thought}\033[0m", end="", flush=True)
    if content:
        parts.append(content)
        print(content, end="", flush=True)


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _words(error: Any) -> str:
    """OpenAI's error is an object; other servers' may be a mere text."""
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _message(text: str, status: int) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The gateway answered {status}: {text[:200]}"
