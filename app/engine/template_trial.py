"""Tries an entry's chat template on the build itself, since each build parses its own Jinja dialect.

llama-server reads the template before the model. With a missing model it ends within milliseconds.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from app.engine.diagnose import diagnose
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary
from app.engine.probe import RunningProbes, run_to_its_end
from app.errors import Diagnosis, LaunchRefusedError

TEMPLATES, _SWITCHES = ("--chat-template", "--chat-template-file"), ("--jinja", "--no-jinja")
# Any free port, since it listens before it looks for the model
_NOWHERE = ("--model", "/nonexistent/model.gguf", "--host", "127.0.0.1", "--port", "0")
# Its log has its own thread, and the place of the mistake may be lost when the process ends.
_TRIES, _PLACE = 3, "does not parse"
# A wrapper may start a server whatever its arguments: then the start will show it.
_PATIENCE_S = 5.0


def check_template(plan: LaunchPlan, engine: EngineBinary) -> None:
    """Raises LaunchRefusedError if the start would fail. The first call blocks for milliseconds."""
    words = template_words(plan.argv)
    if not words:
        return
    stamps = tuple(stamp for path in plan.named if (stamp := _stamp(path)))
    if problem := _tried(engine, engine.identity, words, tuple(sorted(plan.env.items())), stamps):
        raise LaunchRefusedError(problem, code="chat_template")


def template_words(argv: Sequence[str]) -> tuple[str, ...]:
    """The flags of a command line that select a template; empty if the model's own is used."""
    words: list[str] = []
    named = False
    for place, word in enumerate(argv):
        if word in TEMPLATES:
            words += argv[place : place + 2]
            named = True
        elif word in _SWITCHES:
            words.append(word)
    return tuple(words) if named else ()


@lru_cache(maxsize=256)
def _tried(
    engine: EngineBinary, _identity: str, words: tuple[str, ...], env: tuple[tuple[str, str], ...], _stamps: object
) -> str:
    """The problem with the template, and its fix; empty if there is none, or if it is unknown."""
    problem = ""
    for _ in range(_TRIES):
        diagnosis = trial(engine, words, dict(env))
        if diagnosis is None or diagnosis.code != "chat_template":
            break
        problem = str(diagnosis)
        if _PLACE in diagnosis.cause:
            break
    return problem


def trial(engine: EngineBinary, words: Sequence[str], env: Mapping[str, str]) -> Diagnosis | None:
    """Diagnoses a start of these words with a missing model. None if it cannot be run, or does not end."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = run_to_its_end([*engine.command, *words, *_NOWHERE], env, RunningProbes(), patience=_PATIENCE_S)
        return diagnose(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").splitlines())
    return None


def _stamp(path: Path) -> tuple[str, int, int] | None:
    with suppress(OSError):
        stat = path.stat()
        return str(path), stat.st_size, stat.st_mtime_ns
    return None
