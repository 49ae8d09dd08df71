"""The embedded engine: llama-server from the xllamacpp wheel, in its own process.

    python -P -m app.engine.embedded --model tiny.gguf --port 8001 ...

For the gateway it is one more llama-server: the same flags, `--help`, exit codes, error texts, endpoints and log. The
flags go to llama.cpp's own parser inside the wheel (ADR 3). The extra `embedded` pins the versions that have it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, NoReturn

from app.engine.embedded_native import DEFAULT_PORT, find_parser, flush_log
from app.engine.wheel import GET_WHEEL

MISSING = f"llama-tandem: the embedded engine needs the wheel xllamacpp: {GET_WHEEL}"
UNFIT = f"llama-tandem: the embedded engine does not work with xllamacpp {{}}: run {GET_WHEEL} for a supported version"


def main(argv: list[str]) -> NoReturn:
    """Parses, loads, and serves until a signal. Exit codes are llama-server's: 0 after SIGTERM, 1 for any refusal."""
    _end_with_stdin()
    try:
        import xllamacpp
    except ImportError:
        _leave(1, MISSING)
    parse = find_parser(xllamacpp)
    if parse is None:
        _leave(1, UNFIT.format(getattr(xllamacpp, "__version__", "of unknown version")))
    params = xllamacpp.CommonParams()
    params.port = DEFAULT_PORT
    if not parse(argv, params):
        _leave(1)
    _serve(xllamacpp, params)


def _serve(module: Any, params: Any) -> NoReturn:
    # Server() holds the GIL during the whole load, so no Python handler could run. Until then the default action
    # applies, like the binary's own before its load is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        server = module.Server(params)
    except (RuntimeError, ValueError) as error:
        # llama.cpp logs the reason on stderr, in its own thread; this sentence follows it.
        flush_log(module)
        _leave(1, f"E embedded engine: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not `del server`: it has hung for ever, and it waits for open streams.
        signal.signal(number, lambda *_: os._exit(0))
    while True:
        signal.pause()
        assert server is not None


def _end_with_stdin() -> None:
    """Where the kernel cannot tie this process to the gateway (macOS), stdin is a pipe that ends with the gateway."""
    if os.environ.get("LLAMA_TANDEM_PARENT_STDIN") != "1":
        return

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _leave(code: int, message: str = "") -> NoReturn:
    """Ends without the interpreter's shutdown, which could wait for llama.cpp's threads."""
    try:
        if message:
            print(message, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass  # the reader of stdout is gone
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
