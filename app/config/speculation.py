"""llama-server's speculation modes and the options of each.

Names and defaults are those of b11434 (`--spec-type` and its options). The other spellings of an option are older
builds' names. The dialect determines which ones a build has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.config.placed_error import THE_KEY, Keys, PlacedError
from app.config.suggestions import did_you_mean

Family = Literal["draft", "ngram"]


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a mode: its flag's spellings, newest first, and the valid values."""

    flags: tuple[str, ...]
    low: float = 0
    high: float | None = None
    whole: bool = True
    choices: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        """Returns what is wrong with `value`, or None."""
        if self.choices:
            return None if value in self.choices else f"must be {' or '.join(self.choices)}, not {value!r}"
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return f"must be a {'whole ' if self.whole else ''}number, not {value!r}"
        # Not the other way round: every comparison with .nan is false.
        if not (self.low <= value and (self.high is None or value <= self.high)):
            limits = f"at least {self.low:g}" if self.high is None else f"from {self.low:g} to {self.high:g}"
            return f"must be {limits}, not {value!r}"
        return None


@dataclass(frozen=True, slots=True)
class Mode:
    """A speculation mode. `draft_model`: it needs a draft in separate files. `family` determines how it is verified.

    `longest` is the number of tokens that it drafts at once by default, in b11434.
    """

    name: str
    family: Family
    draft_model: bool
    options: Mapping[str, Option]
    longest: int = 3

    def __str__(self) -> str:
        return self.name


_DRAFT = {
    # 0 passes start-up and /health, then aborts the first request (GGML_ASSERT, b11434), so it is refused.
    "n_max": Option(("--spec-draft-n-max", "--draft-max"), low=1),
    "n_min": Option(("--spec-draft-n-min", "--draft-min")),
    # No range check there: 1.01 turns drafting off and keeps its cost.
    "p_min": Option(("--spec-draft-p-min", "--draft-p-min"), high=1, whole=False),
    "p_split": Option(("--spec-draft-p-split", "--draft-p-split"), high=1, whole=False),
    "sampling": Option(("--spec-draft-sampling",), choices=("greedy", "probabilistic")),
}


# What b11434 takes; above it ends at once.
_LONGEST_NGRAM = 1024


def _ngram(name: str, *options: str, longest: int) -> Mode:
    flags = {
        key: Option(
            (f"--spec-{name}-{key.replace('_', '-')}",), low=1, high=None if key == "min_hits" else _LONGEST_NGRAM
        )
        for key in options
    }
    return Mode(name, "ngram", draft_model=False, options=flags, longest=longest)


_ALL = (
    Mode("draft-simple", "draft", draft_model=True, options=_DRAFT),
    Mode("draft-eagle3", "draft", draft_model=True, options=_DRAFT),
    # The heads are in the target, or in a file beside it that is given as the draft.
    Mode("draft-mtp", "draft", draft_model=False, options=_DRAFT),
    Mode("draft-dflash", "draft", draft_model=True, options=_DRAFT),
    Mode("draft-dspark", "draft", draft_model=True, options=_DRAFT),
    _ngram("ngram-simple", "size_n", "size_m", "min_hits", longest=48),
    _ngram("ngram-map-k", "size_n", "size_m", "min_hits", longest=48),
    _ngram("ngram-map-k4v", "size_n", "size_m", "min_hits", longest=48),
    _ngram("ngram-mod", "n_match", "n_min", "n_max", longest=64),
    _ngram("ngram-cache", longest=8),
)
MODES: dict[str, Mode] = {mode.name: mode for mode in _ALL}
NONE, AUTO = "none", "auto"


@dataclass(frozen=True, slots=True)
class Step:
    """One mode of a chain with its options."""

    mode: str
    options: Mapping[str, int | float | str] = field(default_factory=dict, hash=False)

    @property
    def family(self) -> Family:
        return MODES[self.mode].family

    def __str__(self) -> str:
        return self.mode


Chain = tuple[Step, ...]
PLAIN: Chain = ()


def named(chain: Chain) -> str:
    """Returns the modes' names: `draft-simple,ngram-mod`, or `none` for plain decoding."""
    return ",".join(step.mode for step in chain) or NONE


def written(chain: Chain) -> str | list[dict[str, int | float | str]]:
    """Returns the form of entries and JSON, which `parse_chain` reads."""
    return [{"mode": step.mode, **step.options} for step in chain] or NONE


def drafts(chain: Chain) -> bool:
    """Tells whether the chain has a mode of the draft family."""
    return any(step.family == "draft" for step in chain)


def longest_draft(chain: Chain) -> int:
    """Returns the maximum number of tokens drafted at once for one request; 0 for plain decoding."""
    own = ((step.options.get("n_max", step.options.get("size_m")), MODES[step.mode].longest) for step in chain)
    return max((length if isinstance(length, int) else usual for length, usual in own), default=0)


def wants_draft_model(chain: Chain) -> bool:
    """Tells whether the chain requires draft files. With draft-mtp they are optional."""
    return any(MODES[step.mode].draft_model for step in chain)


def unknown_mode(name: str, known: Sequence[str]) -> str:
    """Returns the message for an unknown mode, with the most similar mode first."""
    return f"unknown mode {name!r}{did_you_mean(name, known) or ';'} Modes: {', '.join(known)}"


def parse_step(value: Any) -> Step:
    """Parses a mode's name, or a mapping with `mode` and options. Raises ValueError with a message for the user."""
    name = value.get("mode") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        raise ValueError(
            f"must be a mode or a mapping with one, such as {{mode: draft-simple, n_max: 8}}; not {name!r}"
        )
    value = value if isinstance(value, Mapping) else {}
    if name in (AUTO, NONE):
        raise ValueError(f"{name} stands alone: it is no mode to chain or to give options to")
    mode = MODES.get(name)
    if mode is None:
        there = (*MODES, AUTO, NONE)
        where: Keys = ("mode",) if value else ()
        text = unknown_mode(name, there)
        raise PlacedError([(where, text)])
    options = {key: option for key, option in value.items() if key != "mode"}
    if problems := list(_wrong_options(mode, options)):
        raise PlacedError(problems)
    return Step(name, options)


def _wrong_options(mode: Mode, options: Mapping[Any, Any]) -> Iterator[tuple[Keys, str]]:
    found: list[tuple[Keys, str]] = []
    for key, option in options.items():
        if key not in mode.options:
            takes = ", ".join(mode.options) or "none"
            meant = did_you_mean(str(key), mode.options)
            found.append(((key, THE_KEY), f"{mode} has no option {key!r}; its options: {takes}{meant}"))
        elif problem := mode.options[key].problem(option):
            found.append(((key,), f"{key} of {mode} {problem}"))
    yield from found
    low, high = options.get("n_min"), options.get("n_max")
    if not found and low is not None and high is not None and low > high:
        yield ("n_min",), f"n_min {low} of {mode} is above n_max {high}: no draft would ever be used"


def _steps(items: Sequence[Any]) -> tuple[Step, ...]:
    """Parses the steps. Raises PlacedError with the mistakes in all of them."""
    steps: list[Step] = []
    problems: list[tuple[Keys, str]] = []
    for at, item in enumerate(items):
        try:
            steps.append(parse_step(item))
        except PlacedError as error:
            problems += error.below(at).problems
        except ValueError as error:
            problems.append(((at,), str(error)))
    if problems:
        raise PlacedError(problems)
    return tuple(steps)


def parse_chain(value: Any) -> Chain:
    """Parses one step or a list of steps. Raises ValueError with a message for the user."""
    if value == NONE:
        return PLAIN
    steps = _steps(value) if isinstance(value, list | tuple) else (parse_step(value),)
    names = [step.mode for step in steps]
    if len(set(names)) < len(names):
        raise ValueError("names a mode twice")
    if sum(step.family == "draft" for step in steps) > 1:
        raise ValueError("llama-server runs one draft mode at a time; n-gram modes may be chained to it")
    if not steps:
        raise ValueError("is an empty list; write none for no speculation")
    return steps
