"""A command of llama-tandem in a terminal: keys go in by pexpect, and pyte shows what a person then sees."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from types import TracebackType

import pexpect
import pyte

from tests.support.paths import ROOT

PATIENCE_S = 20.0
ESCAPE = re.compile(r"\x1b")


class TerminalProgram:
    """`screen` is what stands there; `raw` every byte that the program has written, as text."""

    def __init__(
        self, folder: Path, *words: str, columns: int = 100, rows: int = 40, env: dict[str, str] | None = None
    ) -> None:
        own = {
            k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "HF_", "NO_COLOR", "COLUMNS", "LINES"))
        }
        own |= {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        own |= {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
        self.raw = ""
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.Stream(self._screen)
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "llama_tandem", *words],
            cwd=str(folder),
            env=own | (env or {}),
            dimensions=(rows, columns),
            encoding="utf-8",
            codec_errors="replace",
            timeout=PATIENCE_S,
        )
        self._child.delaybeforesend = None

    def __enter__(self) -> TerminalProgram:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            print("the screen at the end:", self.screen, sep="\n")
        self._child.close(force=True)

    @property
    def pid(self) -> int:
        return int(self._child.pid)

    @property
    def screen(self) -> str:
        """Lines without blanks at their ends, with what has scrolled away above."""
        above = ["".join(line[x].data for x in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in (*above, *self._screen.display)).rstrip()

    @property
    def title(self) -> str:
        return str(self._screen.title)

    def type(self, keys: str) -> None:
        self._child.send(keys)

    def resize(self, columns: int, rows: int = 40) -> None:
        self._child.setwinsize(rows, columns)
        self._screen.resize(rows, columns)

    def read(self, seconds: float = 0.05) -> None:
        """Takes in what has come."""
        try:
            text = self._child.read_nonblocking(1 << 16, seconds)
        except pexpect.TIMEOUT:
            return
        self.raw += text
        self._stream.feed(text)
        # Editors ask where the cursor is
        for _ in range(text.count("\x1b[6n")):
            self._child.send(f"\x1b[{self._screen.cursor.y + 1};{self._screen.cursor.x + 1}R")

    def see(self, text: str, times: int = 1, within: float = PATIENCE_S) -> str:
        """Waits until the text stands on the screen so many times; returns the screen."""
        end = time.monotonic() + within
        while self.screen.count(text) < times:
            assert time.monotonic() < end, f"{text!r} is not seen in:\n{self.screen}"
            try:
                self.read()
            except pexpect.EOF:
                assert self.screen.count(text) >= times, f"it ended without {text!r}:\n{self.screen}"
        return self.screen

    def end(self, within: float = PATIENCE_S) -> int:
        """The exit code, once it has ended by itself."""
        end = time.monotonic() + within
        while True:
            assert time.monotonic() < end, f"it goes on:\n{self.screen}"
            try:
                self.read()
            except pexpect.EOF:
                break
        self._child.close()
        return int(self._child.exitstatus if self._child.exitstatus is not None else -self._child.signalstatus)
