"""One progress line for the user while a model is downloaded, loads or reads the prompt."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from app.cli.chat_client import ChatClient
from app.errors import TandemError
from app.terminal import StatusLine, bar, size_in_words

# Seconds until the line appears, since quick answers need none, and seconds between requests to the gateway.
_AFTER_S, _EVERY_S = 0.4, 0.3
_TURNS = "|/-\\"


class LoadingLine:
    """A context in which the line is updated. `heard` ends it early, `note` shows the gateway's comments.

    `words` are shown while neither the model's state nor a comment says more.
    """

    def __init__(
        self, client: ChatClient, alias: str, words: str = "reading the question", line: StatusLine | None = None
    ) -> None:
        self._client = client
        self._alias = alias
        self._line = line or StatusLine()
        self._words = words
        self._over = threading.Event()
        self._began = time.monotonic()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LoadingLine:
        if self._line.active:
            self._thread = threading.Thread(target=self._move, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heard()

    def note(self, words: str) -> None:
        """Shows a comment of the stream."""
        self._words = words or self._words

    def heard(self) -> None:
        """Ends the wait. The line is gone when this returns."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(1)
            self._thread = None
        self._line.clear()

    def _move(self) -> None:
        turn = 0
        self._over.wait(_AFTER_S)
        while not self._over.is_set():
            row: dict[str, Any] = {}
            with suppress(TandemError):
                row = self._client.row(self._alias)
            if self._over.is_set():
                return
            words = state_in_words(self._alias, row) or self._words
            turn += 1
            self._line.show(f"{_TURNS[turn % 4]} {words}  {time.monotonic() - self._began:.0f} s")
            self._over.wait(_EVERY_S)


def state_in_words(alias: str, row: Mapping[str, Any]) -> str:
    """Returns `loading smol [####....] 43 %`, from a row of `/v1/models`; empty for a model that is up."""
    if row.get("state") == "downloading" and isinstance(row.get("download"), dict):
        download = row["download"]
        rate = download.get("rate")
        speed = f"  {size_in_words(int(rate), 1)}/s" if isinstance(rate, int | float) and rate else ""
        return f"downloading {alias} {_share(download.get('received'), download.get('size'))}{speed}"
    if isinstance(loading := row.get("loading"), dict):
        return f"loading {alias} {_share(loading.get('read'), loading.get('size'))}"
    state = row.get("state")
    return f"{alias} is {state}" if state in ("starting", "draining", "stopping", "backoff") else ""


def _share(done: Any, size: Any) -> str:
    if not isinstance(done, int | float) or not isinstance(size, int | float) or size <= 0:
        return ""
    # Rounded down: a file that lacks a byte is not at 100 %
    return f"{bar(done / size)} {int(100 * done / size)} %"
