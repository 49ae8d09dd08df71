"""A client of a gateway for the chat: its models, and an answer as a stream of events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx2

from app.errors import ConfigError, UpstreamError, UpstreamUnreachableError, reason_of

# A message's content is a text, or a list of parts if it holds an image.
Message = dict[str, Any]
CONNECT_S = 5.0
# For the settings' own gateway, and for an address from the user
START_ONE = "Start one: llama-tandem serve"
CHECK_ADDRESS = "Check the address, and that a gateway listens there."


def read_key(path: Path) -> str:
    """Reads a key file. Raises ConfigError."""
    try:
        return path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        raise ConfigError([f"--key-file: {path}: cannot be read: {error}"]) from None


def root_of(url: str) -> str:
    """Returns the gateway's root URL, for an address with or without scheme and `/v1`."""
    url = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    return url if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url) else f"http://{url}"


class ChatClient:
    """A client of one gateway. Every method raises UpstreamError with a message.

    `remedy` is the advice if the address does not answer, `refused` the message for a refused key, if not its own.
    """

    def __init__(self, root: str, key: str | None = None, *, remedy: str = START_ONE, refused: str = "") -> None:
        self.root = root
        self._remedy = remedy
        self._refused = refused
        # Repeated requests stay out of the gateway's log
        headers = {"x-tandem-poll": "1"} | ({"authorization": f"Bearer {key}"} if key else {})
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        try:
            # A connection kept between two questions could be one of a gateway that has ended meanwhile
            limits = httpx2.Limits(max_keepalive_connections=0)
            self._http = httpx2.Client(
                base_url=root,
                headers=headers,
                timeout=timeout,
                limits=limits,
                trust_env=False,
                verify=root.lower().startswith("https:"),  # reading certificates takes 30 ms
            )
        except httpx2.InvalidURL as error:
            raise UpstreamUnreachableError(f"{root} is not the address of a gateway: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Returns the JSON of a 200."""
        return self._whole("GET", path, params=query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Returns the JSON of an answer below 300."""
        return self._whole("POST", path, json=body, params=query)

    def delete(self, path: str) -> None:
        self._whole("DELETE", path)

    def _whole(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = self._http.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if response.status_code == 401 and self._refused:
            raise UpstreamError(self._refused)
        if response.status_code >= 300:
            raise UpstreamError(message_of(response.text, response.status_code))
        with suppress(ValueError):
            return response.json() if response.content else None
        raise UpstreamError(f"The server at {self.root} is not llama-tandem: its answer at {path} is not JSON.")

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """Yields lines of an answer as they arrive."""
        try:
            with self._http.stream("GET", path, params=query) as response:
                if response.status_code != 200:
                    raise UpstreamError(message_of(response.read().decode("utf-8", "replace"), response.status_code))
                yield from response.iter_lines()
        except httpx2.ConnectError as error:
            raise self._unreachable(error) from None
        except httpx2.HTTPError:
            raise UpstreamError(f"The gateway at {self.root} has stopped.") from None

    def models(self) -> list[dict[str, Any]]:
        """Returns the rows of `/v1/models`."""
        page = self.get("/v1/models")
        rows = page.get("data") if isinstance(page, dict) else None
        if not isinstance(rows, list):
            raise UpstreamError(f"The server at {self.root} lists no models at /v1/models.")
        return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]

    def row(self, alias: str) -> dict[str, Any]:
        """Returns a model's row. Raises UpstreamError for an unknown model."""
        row = self.get(f"/v1/models/{quote(alias)}")
        return row if isinstance(row, dict) else {}

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
        """Yields events of a streamed chat completion, comments as strings. Ends when the connection closes."""
        begun = False
        try:
            with self._http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as response:
                begun = True
                if response.status_code != 200:
                    raise UpstreamError(message_of(response.read().decode("utf-8", "replace"), response.status_code))
                yield from _events(response.iter_lines())
        except httpx2.ConnectError as error:
            raise self._unreachable(error) from None
        except (httpx2.HTTPError, ValueError) as error:  # ValueError: an event that is not JSON
            closed = isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError)
            if not begun:
                why = "it has closed the connection" if closed else reason_of(error)
                raise UpstreamError(f"The gateway at {self.root} does not answer: {why}. {self._remedy}") from None
            why = f"the gateway at {self.root} has closed the connection." if closed else reason_of(error)
            raise UpstreamError(f"The answer was interrupted: {why}") from None

    def _unreachable(self, error: Exception) -> UpstreamUnreachableError:
        return UpstreamUnreachableError(f"No gateway answers at {self.root} ({reason_of(error)}). {self._remedy}")


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any] | str]:
    for line in lines:
        if line.startswith(":"):
            yield line[1:].strip()
        elif line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
            event = json.loads(data)
            if isinstance(event, dict):
                yield event


def error_words(error: Any) -> str:
    """Returns an error's message. OpenAI's error is an object; other servers may send a text."""
    return str(error.get("message", error) if isinstance(error, dict) else error)


def message_of(text: str, status: int) -> str:
    """Returns the message in an error's body."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The gateway answered {status}: {text[:200]}"
