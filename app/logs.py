"""Configures logging: structlog, to stderr, as text on a terminal and as JSON otherwise.

Libraries that use the standard `logging` appear in the same format, from WARNING up. The last lines stay in memory for
`llama-tandem logs`.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from typing import Any, Literal, TextIO

import msgspec

from app.log_memory import LogMemory
from app.log_words import line_for_people
from app.terminal import in_colour, is_terminal


def _without_rich() -> Any:
    """structlog imports rich if it can: 50 ms and 5 MB, for tracebacks that we print without it."""
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


structlog = _without_rich()

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# All loggers so far. Each keeps the level and format of its first line (`cache_logger_on_first_use`)
_loggers: list[Any] = []
_encode = msgspec.json.Encoder(enc_hook=str).encode
# The last lines of this process and of its engines
memory = LogMemory()


class _PeoplesLine:
    """Formats a line as text. Shows request ids only with errors, unless `debug`."""

    def __init__(self, *, coloured: bool, debug: bool) -> None:
        self._coloured, self._debug = coloured, debug

    def __call__(self, _logger: Any, method: str, event: dict[str, Any]) -> str:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(None, method, event)
        level = "error" if method == "exception" else method
        return line_for_people(time.time(), level, event, coloured=self._coloured, debug=self._debug)


def _remember(_logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    memory.add(time.time(), method, event)
    return event


class _JsonLine:
    """Formats a line as JSON in one step. structlog's own chain of processors costs three times as much.

    There is a line per request, and these took a third of the gateway's own time for a request.
    """

    def __init__(self) -> None:
        self._second, self._prefix = -1, ""

    def __call__(self, _logger: Any, method: str, event: dict[str, Any]) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(None, method, event)
        line = {
            "timestamp": f"{self._prefix}.{int((now - second) * 1e6):06}Z",
            "level": "error" if method == "exception" else method,
            "event": event.pop("event", ""),
        }
        line.update(event)
        return _encode(line).decode()


class _Unbreakable:
    """A stream whose reader may close it. A lost log must neither stop the work nor the shutdown."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def get_logger(name: str) -> Any:
    """Returns a structlog logger. `name` is the part of the gateway."""
    logger = structlog.get_logger(name)
    _loggers.append(logger)
    return logger


def configure(log_format: Literal["auto", "console", "json"], level: str) -> None:
    """Call it before the first line, and again for another format or level."""
    people = log_format == "console" or (log_format == "auto" and is_terminal(sys.stderr))
    stream: Any = _Unbreakable(sys.stderr)
    written = _PeoplesLine(coloured=in_colour(sys.stderr), debug=level == "debug") if people else _JsonLine()
    processors: list[Any] = [_remember, written]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors]
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for logger in _loggers:
        vars(logger).pop("bind", None)


class ExpectedErrorFilter(logging.Filter):
    """Drops records about exceptions that are raised on purpose, such as an aborted stream."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        super().__init__()
        self._kinds = kinds

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], self._kinds))
