"""Why an engine failed: exit code, signal and log -> one line of cause, one of advice.

Nearly every failure of llama-server is exit code 1, so the log decides, by the patterns of `diagnose_rules.py`. Where
none matches, the last line that tells of an error is the cause.
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
# `0.00.012.242 E srv    load_model: ...` since 2026; words alone before that, and in wrappers
_SAYS_ERROR = re.compile(r"^[\d.]+ E |^E |\b(?i:error|failed|fatal|cannot|can't|not found|denied|what\(\)):? ")
_SAYS_NOTHING = re.compile(
    r"failed to (?:load|create)(?:_| )?(?:model|context)\b|failed to (?:initialize the context|load draft model)|"
    r"exiting due to|failed to fit params|trying to fit params|failed to initialize HTTP server|embedded engine: |"
    r"please consider|terminate called|^[\d.]+ [IWD] "
)
# Level, the part of the program, and its function
_HEAD = re.compile(r"^(?:[\d.]+ )?(?:E )?(?:\w{2,5} +(?=\w+: ))?(?:\w+: +)?(?:error: )?", re.IGNORECASE)
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


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
    for rule in RULES:
        if match := rule.pattern.search(text):
            groups = [(group or "").strip().rstrip(".") for group in match.groups()]
            cause = " ".join(rule.cause.format(*groups, model=_model(text)).split())
            cause = re.sub(r"[: ]+\.$", ".", cause)  # what a group that is empty leaves behind
            if rule.code == "load_failed" and (line := last_error(text.splitlines())):
                cause = f"{cause.rstrip('.')}: {line}."
            return Diagnosis(rule.code, cause + _told_beside(text, cause), rule.advice, rule.permanent, tail)
    return None


def _told_beside(text: str, cause: str) -> str:
    """Sentences on what the failing load was for, where `cause` does not say it."""
    more = ""
    if (draft := _DRAFT.search(text)) and "draft model" not in cause:
        more += f" It is the draft model's: {draft[1]}."
    if "failed to reload model after sleeping" in text and "sleeping" not in cause:
        more += " It was to be loaded again after sleeping."
    return more


def last_error(log: Sequence[str]) -> str:
    """The last line that tells of an error and says more than that there was one; empty where none does."""
    for line in reversed(log):
        if _SAYS_ERROR.search(line) and not _SAYS_NOTHING.search(line):
            return _HEAD.sub("", line).strip().rstrip(".")
    return ""


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
    line = last_error(tail)
    if returncode is not None and returncode < 0:
        number = -returncode
        if number in _SIGNALS:
            code, cause, advice, permanent = _SIGNALS[signal.Signals(number)]
            return Diagnosis(code, cause, advice, permanent, tail)
        return Diagnosis("signalled", f"llama-server died of {_signal_name(number)}.", LOG_SAYS_MORE, False, tail)
    if line:
        return Diagnosis("exited", f"llama-server failed: {line}.", LOG_SAYS_MORE, False, tail)
    cause = "llama-server failed." if returncode is None else f"llama-server ended with exit code {returncode}."
    return Diagnosis("exited", cause, LOG_SAYS_MORE, False, tail)
