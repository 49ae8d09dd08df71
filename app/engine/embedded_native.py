"""Calls llama.cpp's own command line parser, which the xllamacpp wheel exports but does not document.

It handles every flag, `--help`, the environment, config.ini and the binary's error texts. Since its interface may
change, the extra `embedded` pins the tested versions, and the parser is verified before use. The C++ object inside a
`CommonParams` is found by five sentinel values that must occur together exactly once. A trial parse must be readable
through the Python attributes. Tested with wheels 2026.4.8929 to 2026.10.11549 (offset 16 in each).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from typing import Any

_SYMBOL = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
_LOG, _FLUSH = "_Z15common_log_mainv", "_Z16common_log_flushP10common_log"
_LLAMA_EXAMPLE_SERVER = 12
_SENTINELS = {"n_predict": -1234511, "n_ctx": 1234522, "n_batch": 1234533, "n_ubatch": 1234544, "n_keep": 1234555}
DEFAULT_PORT = 8080

Parse = Callable[[Sequence[str], Any], bool]


def find_parser(xllamacpp: Any) -> Parse | None:
    """Returns `parse(flags, params)`, which is False for refused flags; None if the wheel has no usable parser."""
    try:
        function = getattr(ctypes.CDLL(xllamacpp.xllamacpp.__file__), _SYMBOL)
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_bool
    offset = _offset(xllamacpp.CommonParams)
    if offset is None:
        return None

    def parse(flags: Sequence[str], params: Any) -> bool:
        words = [b"llama-server", *(flag.encode("utf-8", "surrogateescape") for flag in flags)]
        argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        place = ctypes.c_void_p(id(params) + offset)
        return bool(function(ctypes.c_int(len(words)), argv, place, ctypes.c_int(_LLAMA_EXAMPLE_SERVER), None))

    return parse if _proves_itself(parse, xllamacpp.CommonParams()) else None


def flush_log(xllamacpp: Any) -> None:
    """Waits until llama.cpp's log thread has written its lines; does nothing if the wheel lacks the call.

    The cause of a failed load is among the last lines, and the process is about to end.
    """
    try:
        library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
        log_of, flush = getattr(library, _LOG), getattr(library, _FLUSH)
    except (OSError, AttributeError):
        return
    log_of.restype = ctypes.c_void_p
    flush.argtypes = [ctypes.c_void_p]
    flush.restype = None
    flush(log_of())


def _offset(params_type: Any) -> int | None:
    """The offset of the C++ struct in the Python object: its first five ints are the sentinels."""
    params = params_type()
    for name, value in _SENTINELS.items():
        setattr(params, name, value)
    image = ctypes.string_at(id(params), params_type.__basicsize__)
    pattern = struct.pack("<5i", *_SENTINELS.values())
    return image.find(pattern) if image.count(pattern) == 1 else None


def _proves_itself(parse: Parse, params: Any) -> bool:
    flags = ["--model", "trial.gguf", "--port", "4711", "--ctx-size", "1234", "--alias", "trial/name"]
    if not parse(flags, params):
        return False
    read = (params.model.path, params.port, params.n_ctx, set(params.model_alias))
    return read == ("trial.gguf", 4711, 1234, {"trial/name"})
