"""llama-server's log lines: `M.SS.mmm.uuu LEVEL tag fn: text` on stderr, or JSON lines on stdout."""

from __future__ import annotations

import json
import os
import sys
import time

LEVELS = {"I": "info", "W": "warn", "E": "error"}


class Log:
    def __init__(self, as_json: bool) -> None:
        self._begun = time.monotonic()
        self._as_json = as_json

    def __call__(self, level: str, text: str) -> None:
        micros = int((time.monotonic() - self._begun) * 1e6)
        if self._as_json:
            record = {"type": "log", "time": micros, "level": LEVELS[level], "msg": text}
            write(json.dumps(record), to=1)
            return
        seconds, rest = divmod(micros, 1_000_000)
        minutes, seconds = divmod(seconds, 60)
        write(f"{minutes}.{seconds:02}.{rest // 1000:03}.{rest % 1000:03} {level} {text}")


def write(line: str, to: int = 2) -> None:
    """One write a line, so that lines of several threads do not mix; nobody listening is no fault of ours."""
    try:
        os.write(to, line.encode() + b"\n")
    except OSError:
        sys.stderr = None
