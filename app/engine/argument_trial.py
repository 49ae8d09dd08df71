"""Tries values of an entry's flags and variables on the build itself, if its help page does not describe them.

llama-server reads its command line before it looks for the model. With a missing model it ends within milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from app.config.path_flags import PATH_FLAGS
from app.engine.arguments import EntryFlag, is_judged
from app.engine.dialect import Dialect, Flag
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary
from app.engine.template_trial import TEMPLATES, trial
from app.errors import LaunchRefusedError

# The code of a diagnosis about a value
_BAD_VALUE = "bad_value"
# Each of these variables stands for a flag
_VARIABLES = "LLAMA_ARG_"
# `- distribute: spread execution evenly over all nodes`
_EXPLAINED = re.compile(r"(?:^|\s)- ([a-z][\w+-]*):")


def check_values(plan: LaunchPlan, given: Iterable[EntryFlag], dialect: Dialect, engine: EngineBinary) -> None:
    """Raises LaunchRefusedError for a value that the build refuses. The first call blocks for milliseconds."""
    vague = [flag for flag in given if _is_vague(flag, dialect)]
    if not vague and not any(name.startswith(_VARIABLES) for name in plan.env):
        return
    words = tuple(word for flag in vague for word in (flag.written, *flag.values))
    if problem := _tried(engine, engine.identity, words, tuple(sorted(plan.env.items()))):
        forms = "".join(f" {form}" for form in _forms(problem, vague, dialect))
        key = "env" if f" {_VARIABLES}" in problem else "args"
        raise LaunchRefusedError(f"{key}: {problem}{forms}", code=_BAD_VALUE)


def _is_vague(given: EntryFlag, dialect: Dialect) -> bool:
    """Whether the help page gives neither choices nor a number for the value. Files are checked elsewhere."""
    flag = dialect.described.get(given.name)
    if flag is None or not given.values or is_judged(flag):
        return False
    return not {*flag.names} & {*PATH_FLAGS, *TEMPLATES}


def _forms(problem: str, vague: Iterable[EntryFlag], dialect: Dialect) -> Iterator[str]:
    """Yields the right form of each refused value, as the help page has it."""
    for given in vague:
        if f" {given.written}:" in problem:
            form = _form(dialect.described[given.name])
            yield f"It takes {form}, not {' '.join(given.values)!r}." if form else f"The value is {given.values[0]!r}."


def _form(flag: Flag) -> str:
    """`KEY=TYPE:VALUE,...`, or the words that the page explains; empty for a bare `TYPE`."""
    if re.search(r"\W", flag.values):
        return flag.values
    words = _EXPLAINED.findall(flag.text)
    return f"words such as {', '.join(words)}" if words else ""


@lru_cache(maxsize=256)
def _tried(engine: EngineBinary, _identity: str, words: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> str:
    """The problem with these words; empty if there is none, or if it is unknown."""
    diagnosis = trial(engine, words, dict(env))
    return diagnosis.cause if diagnosis is not None and diagnosis.code == _BAD_VALUE else ""
