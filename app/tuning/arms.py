"""Lists the arms of a comparison: the modes worth measuring for this entry, build and model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from app.config.model_entry import LocalEntry
from app.config.speculation import MODES, NONE, PLAIN, Chain, Step, drafts, unknown_mode
from app.errors import ConfigError

# llama-server's default was 16, and is 3 as of b11434. The best value depends on models and text.
DRAFT_LENGTHS = (2, 4, 8, 16)
# A model's own layers were trained for one to three tokens ahead.
MTP_LENGTHS = (1, 3)
# Modes that are known to help. Others are measured only if named.
NGRAM_MODES = ("ngram-simple", "ngram-mod", "ngram-map-k")
_IMPLIED = "draft-simple"


@dataclass(frozen=True, slots=True)
class Arm:
    """One speculation mode with its options. `name` identifies it in tables."""

    name: str
    chain: Chain


PLAIN_ARM = Arm(NONE, PLAIN)


@dataclass(frozen=True, slots=True)
class Candidates:
    """`arms` begins with plain decoding. `left_out` maps modes that are not tried to the reason."""

    arms: tuple[Arm, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def label(chain: Chain) -> str:
    """Returns `draft-simple n_max 8, ngram-mod`, or `none` for plain decoding."""
    return ", ".join(" ".join((step.mode, *(f"{k} {v}" for k, v in step.options.items()))) for step in chain) or NONE


def candidates(
    entry: LocalEntry, build: Collection[str], mtp_layers: int, only: Sequence[str] | None = None
) -> Candidates:
    """Returns the arms for `entry`, plain decoding first.

    `build` are the modes of the llama-server, empty for a build that drafts by `--model-draft` alone. `mtp_layers` is
    the target's number of layers for multi-token prediction. `only` names the modes to compare, by default those known
    to help. Raises ConfigError for an unknown mode.
    """
    unknown = [mode for mode in only or () if mode not in MODES and mode != NONE]
    if unknown:
        raise ConfigError([f"--modes: {unknown_mode(unknown[0], (NONE, *MODES))}"])
    arms, left_out = {PLAIN_ARM.name: PLAIN_ARM}, []
    for mode in _modes(entry, mtp_layers, only):
        why = _impossible(mode, entry, build, mtp_layers)
        if why:
            left_out.append((mode, why))
            continue
        for chain in _chains(mode, entry):
            arms.setdefault(label(chain), Arm(label(chain), chain))
    own = entry.chain or PLAIN
    if own and all(_selected(step.mode, only) and not _impossible(step.mode, entry, build, mtp_layers) for step in own):
        arms.setdefault(label(own), Arm(label(own), own))
    return Candidates(tuple(arms.values()), tuple(left_out))


def _selected(mode: str, only: Sequence[str] | None) -> bool:
    return only is None or mode in only


def _modes(entry: LocalEntry, mtp_layers: int, only: Sequence[str] | None) -> Iterator[str]:
    if only is not None:
        yield from (mode for mode in dict.fromkeys(only) if mode != NONE)
        return
    if entry.draft is not None:
        yield _own_draft_mode(entry) or _IMPLIED
    if mtp_layers and (entry.draft is None or _own_draft_mode(entry) != "draft-mtp"):
        yield "draft-mtp"
    yield from NGRAM_MODES


def _own_draft_mode(entry: LocalEntry) -> str | None:
    """Returns the mode for the entry's draft files, if the entry says it."""
    return next((step.mode for step in entry.chain or PLAIN if step.family == "draft"), None)


def _impossible(mode: str, entry: LocalEntry, build: Collection[str], mtp_layers: int) -> str:
    """Returns why an arm of this mode cannot work, or ""."""
    if mode not in build and not (mode == _IMPLIED and entry.draft is not None):
        return "this llama-server does not have it"
    if MODES[mode].draft_model and entry.draft is None:
        return "it needs a draft model, and the entry names none"
    if mode == "draft-mtp" and entry.draft is None and not mtp_layers:
        return "the target has no layers for multi-token prediction"
    return ""


def _chains(mode: str, entry: LocalEntry) -> Iterator[Chain]:
    """Returns the mode in several lengths, with the entry's other options for it."""
    own = next((dict(step.options) for step in entry.chain or PLAIN if step.mode == mode), {})
    if not drafts((Step(mode),)):
        yield (Step(mode, own),)
        return
    lengths = MTP_LENGTHS if mode == "draft-mtp" else DRAFT_LENGTHS
    for length in lengths:
        options = {**own, "n_max": length}
        if isinstance(low := options.get("n_min"), int) and low > length:
            del options["n_min"]
        yield (Step(mode, options),)
