"""Prints errors on stderr, so that no traceback reaches the user."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Errors of failed writes
_OF_WRITES = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


@contextmanager
def report_system_errors() -> Iterator[None]:
    """Prints a system error, such as a full disk, as one line with the path, and exits with 1.

    It flushes stdout here: at the interpreter's end a failure could not be reported any more.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        sys.stdout = None
        if not isinstance(error, BrokenPipeError):
            place = error.filename or ("stdout" if error.errno in _OF_WRITES else "the system")
            print_error(OSError(f"{place}: {error.strerror or error}"))
        raise SystemExit(1) from None


def print_error(error: Exception) -> None:
    """Prints an error on stderr, each line with the program's name."""
    from app.terminal import paint, visible, wrapped

    name = paint("llama-tandem:", "red", stream=sys.stderr)
    for line in visible(str(error)).splitlines():
        # An excerpt of a settings file is indented below its error, and keeps its columns
        if line.startswith(" "):
            print(line, file=sys.stderr)
        else:
            print(wrapped(f"llama-tandem: {line}", sys.stderr).replace("llama-tandem:", name, 1), file=sys.stderr)
