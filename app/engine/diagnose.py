"""Diagnoses a failed engine: exit code, signal and log -> one sentence of cause, one of advice.

Nearly every failure of llama-server has exit code 1, so the log decides, by the patterns of `diagnose_rules.py`. If
none matches, the last error line is the cause.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence

from app.engine.diagnose_rules import RULES
from app.errors import Diagnosis

TAIL_LINES = 20
LINE_LIMIT = 500
_DRAFT = re.compile(r"failed to load draft model, '([^']*)'")
# `0.00.012.242 E srv    load_model: ...` since 2026; the text alone before, and from wrappers
_SAYS_ERROR = re.compile(r"^[\d.]+ E |^E |\b(?i:error|failed|fatal|cannot|can't|not found|denied|what\(\)):? ")
_SAYS_NOTHING = re.compile(
    r"failed to (?:load|create)(?:_| )?(?:model|context)\b|failed to (?:initialize the context|load draft model)|"
    r"exiting due to|failed to fit params|trying to fit params|failed to initialize HTTP server|embedded engine: |"
    r"please consider|terminate called|^[\d.]+ [IWD] "
)
# Level, part of the program, function
_HEAD = re.compile(r"^(?:[\d.]+ )?(?:E )?(?:\w{2,5} +(?=\w+: ))?(?:\w+: +)?(?:error: )?", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


_SIGNALS = {
    signal.SIGILL: (
        "illegal_instruction",
        "llama-server used an instruction that this processor does not have.",
        "Build it on this machine (make llama-server), or use the embedded engine.",
        True,
    ),
    signal.SIGKILL: (
        "killed",
        "llama-server was killed by another process, most likely by the kernel for lack of memory.",
        "Check `dmesg`. Lower ctx_size, or use a smaller quantization.",
        False,
    ),
    signal.SIGSEGV: (
        "crashed",
        "llama-server crashed (segmentation fault).",
        "Try another build. See the last lines of its log.",
        False,
    ),
    signal.SIGABRT: (
        "aborted",
        "llama-server aborted.",
        "See the last lines of its log.",
        False,
    ),
    signal.SIGTERM: (
        "terminated",
        "Another process has stopped llama-server (SIGTERM).",
        "Find that process. The next request starts the engine again.",
        False,
    ),
}

_EXITS = {
    # the exit codes of shells, setpriv and env
    126: ("not_executable", "llama-server is not executable.", "Run chmod +x on it, or name another one."),
    127: ("not_found", "llama-server was not found.", "Check llama_server in the settings."),
}

LOG_SAYS_MORE = "See the last lines of its log."


def last_lines(log: Iterable[str]) -> tuple[str, ...]:
    """The last lines of a log for answers and `check`: without colours, and cut to a length."""
    return tuple(line for line in _plain(log) if line.strip())[-TAIL_LINES:]


def _plain(log: Iterable[str]) -> list[str]:
    return [_ANSI.sub("", line)[:LINE_LIMIT] for line in log]


def diagnose(returncode: int | None, log: Sequence[str], *, hung: str | None = None) -> Diagnosis:
    """Diagnoses an exit. `returncode` is Popen's, None for a running process; `hung` names the passed limit."""
    tail = last_lines(log)
    if hung is not None:
        advice = "If it only needs more time, raise start_stall_timeout or start_timeout."
        return Diagnosis("hung", f"The start hangs: {hung}.", advice, False, tail)
    if returncode is not None and returncode - 128 in _SIGNALS:
        # wrapper scripts and containers report a signal as shells do
        returncode = 128 - returncode
    diagnosis = _by_log("\n".join(_plain(log)), tail) if returncode != 0 else None
    return diagnosis or _by_exit(returncode, tail)


def _by_log(text: str, tail: tuple[str, ...]) -> Diagnosis | None:
    for rule in RULES:
        if match := rule.pattern.search(text):
            groups = [(group or "").strip().rstrip(".") for group in match.groups()]
            cause = " ".join(rule.cause.format(*groups, model=_model(text)).split())
            cause = re.sub(r"[: ]+\.$", ".", cause)  # left by an empty group
            if rule.code == "load_failed" and (line := last_error(text.splitlines())):
                cause = f"{cause.rstrip('.')}: {line}."
            return Diagnosis(rule.code, cause + _told_beside(text, cause), rule.advice, rule.permanent, tail)
    return None


def _told_beside(text: str, cause: str) -> str:
    """Sentences about the purpose of the failed load, unless `cause` contains them."""
    more = ""
    if (draft := _DRAFT.search(text)) and "draft model" not in cause:
        more += f" It is the draft model's: {draft[1]}."
    if "failed to reload model after sleeping" in text and "sleeping" not in cause:
        more += " It failed to load again after sleeping."
    return more


def last_error(log: Sequence[str]) -> str:
    """The last error line that has details; empty without one."""
    for line in reversed(log):
        if _SAYS_ERROR.search(line) and not _SAYS_NOTHING.search(line):
            return _HEAD.sub("", line).strip().rstrip(".")
    return ""


def _model(text: str) -> str:
    """The file whose load failed. The target is loaded first, so a line about the draft decides."""
    if draft := _DRAFT.search(text):
        return f"The draft model {draft[1]}"
    if target := re.search(r"failed to load model,? '([^']*)'|failed to load model from (\S[^\n]*)", text):
        return f"The model {target[1] or target[2]}"
    return "A model file"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have a number only
        return f"signal {number}"


def _by_exit(returncode: int | None, tail: tuple[str, ...]) -> Diagnosis:
    if returncode in _EXITS:
        code, cause, advice = _EXITS[returncode]
        return Diagnosis(code, cause, advice, True, tail)
    line = last_error(tail)
    if returncode is not None and returncode < 0:
        number = -returncode
        if number in _SIGNALS:
            code, cause, advice, permanent = _SIGNALS[signal.Signals(number)]
            return Diagnosis(code, cause, advice, permanent, tail)
        return Diagnosis("signalled", f"llama-server was ended by {_signal_name(number)}.", LOG_SAYS_MORE, False, tail)
    if line:
        return Diagnosis("exited", f"llama-server failed: {line}.", LOG_SAYS_MORE, False, tail)
    cause = "llama-server failed." if returncode is None else f"llama-server ended with exit code {returncode}."
    return Diagnosis("exited", cause, LOG_SAYS_MORE, False, tail)
