"""Decides from GGUF headers whether a draft model can propose tokens for a target model.

The rules are those of llama.cpp's `common_speculative_are_compatible` (b11434), which `draft-simple` checks at load. On
a failure a build writes a log line and serves without drafts, so the gateway checks beforehand. The rules are in
llama.cpp's order:

1. Both tokenizers are of one kind (SPM, BPE, ...).

2. Both add BOS, the same token, or neither does.

3. The same for EOS.

4. The vocabularies differ by 128 tokens at most.

5. Tokens from id 5 up have the same text, as far as both vocabularies go.

Pre-tokenizers, merges and token types are not compared. llama.cpp has defaults for missing keys. The rules follow a
default that all builds share, and report the key as missing otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.errors import GgufError
from app.models.gguf.header import Array, Header
from app.models.gguf.header_cache import header_of
from app.terminal import size_in_words

# llama.cpp's SPEC_VOCAB_MAX_SIZE_DIFFERENCE and SPEC_VOCAB_CHECK_START_TOKEN_ID.
_SIZE_DIFFERENCE = 128
_FIRST_COMPARED = 5
# A draft with more than this share of the target's bytes costs more than most acceptance rates gain.
_LARGEST_SHARE = 0.2

_PRE = "tokenizer.ggml.pre"
# `tokenizer.ggml.model` -> llama.cpp's vocabulary type, by its name in the log (llama-vocab.cpp).
_KINDS = {
    "llama": "SPM",
    "gpt2": "BPE",
    "gemma4": "BPE",
    "hybriddna": "BPE",
    "whitespace": "BPE",
    "bert": "WPM",
    "t5": "UGM",
    "rwkv": "RWKV",
    "plamo2": "PLaMo2",
}
# llama.cpp's default for adding BOS and EOS if the header is silent. With BPE, BOS depends on the pre-tokenizer.
_ADDED = {"SPM": (True, False), "WPM": (True, False), "UGM": (False, True), "RWKV": (False, False)}
_PRE_ADDS_BOS = frozenset(
    ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken", "chameleon"]
)

_TRANSLATION = (
    "Translating costs time with every draft, and what the two split into tokens differently is rejected: "
    "a draft with the target's own vocabulary gains more."
)
# `get_sub_batch: failed to add token 515` and SIGABRT: seen on b11434 for both, with differences of 128 tokens.
_DRAFT_BEYOND = "llama-server aborts if the draft proposes one."
_TARGET_BEYOND = "llama-server aborts when a prompt or an answer contains one."


class Outcome(StrEnum):
    COMPATIBLE = "compatible"
    INCOMPATIBLE = "incompatible"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class DraftVerdict:
    """`reason` and `warnings` are sentences. `mtp_layers` counts the target's own drafting layers."""

    outcome: Outcome
    reason: str
    warnings: tuple[str, ...] = ()
    mtp_layers: int = 0


@dataclass(frozen=True, slots=True)
class _Problem:
    """The finding of a rule. It is not `certain` if a header lacks the keys for it."""

    text: str
    certain: bool = True


def verdict(target: Sequence[Path], draft: Sequence[Path], *, translates: bool) -> DraftVerdict:
    """Judges a pair. Each model is given by its files, first shard first. Raises GgufError if one cannot be read.

    `translates` means that the build converts tokens between vocabularies through text, as builds from August 2025 to
    early 2026 do (llama.cpp PR 12635). Then no vocabulary is incompatible. Such a build has `--spec-replace`, and no
    `draft-simple` in `--spec-type`. One flag alone is no proof, since later builds kept `--spec-replace` as an alias.
    """
    headers = header_of(target[0]), header_of(draft[0])
    outcome, reason, risks = _vocabularies(*headers, translates)
    warnings = [*risks, *_mixture_of_experts(headers[0]), *_size(_total_bytes(target), _total_bytes(draft))]
    return DraftVerdict(outcome, reason, tuple(warnings), mtp_layers(headers[0]))


def mtp_layers(header: Header) -> int:
    """Returns the number of layers for multi-token prediction, which `draft-mtp` uses."""
    return max(0, header.number("{arch}.nextn_predict_layers") or 0)


def small_enough(target: Sequence[Path], draft: Sequence[Path]) -> bool:
    """Tells whether the draft has at most about a fifth of the target's bytes, all shards. Raises GgufError."""
    return _total_bytes(draft) <= _total_bytes(target) * _LARGEST_SHARE


def _vocabularies(target: Header, draft: Header, translates: bool) -> tuple[Outcome, str, list[str]]:
    problems = list(_problems(target, draft, ids_always=translates))
    certain = [problem.text for problem in problems if problem.certain]
    if certain and translates:
        reason, risk = f"{certain[0]} This build translates between the two through text.", _TRANSLATION
        return Outcome.COMPATIBLE, reason, [risk]
    if certain:
        return Outcome.INCOMPATIBLE, f"{certain[0]} llama-server does not draft with such a pair.", []
    if problems:
        reason = " ".join(problem.text for problem in problems)
        return Outcome.UNSURE, f"{reason} Only a start can show whether llama-server drafts with this pair.", []
    return Outcome.COMPATIBLE, *_beyond(target.vocabulary_size or 0, draft.vocabulary_size or 0)


def _beyond(target: int, draft: int) -> tuple[str, list[str]]:
    """Returns reason and warnings for a pair that passes every rule, by its numbers of tokens."""
    if target == draft:
        return "Target and draft have the same tokens.", []
    longer, shorter = ("target", "draft") if target > draft else ("draft", "target")
    first, last = min(target, draft), max(target, draft) - 1
    risk = (
        f"Tokens {first} to {last} are the {longer}'s alone: {_DRAFT_BEYOND if draft > target else _TARGET_BEYOND} "
        "In most models such tokens are padding and never come up."
    )
    return f"The {shorter}'s tokens are the {longer}'s, which has {last - first + 1} more: llama-server drafts.", [risk]


def _problems(target: Header, draft: Header, *, ids_always: bool) -> Iterator[_Problem]:
    """Applies every rule in llama.cpp's order. `ids_always` is the rule before its PR 22358 (April 2026)."""
    yield from _tokenizers(target, draft)
    yield from _special("bos", target, draft, ids_always)
    yield from _special("eos", target, draft, ids_always)
    yield from _tokens(target.arrays.get("tokenizer.ggml.tokens"), draft.arrays.get("tokenizer.ggml.tokens"))


def _tokenizers(target: Header, draft: Header) -> Iterator[_Problem]:
    """Rule 1."""
    kinds = _kind(target), _kind(draft)
    if None in kinds:
        yield _missing("tokenizer.ggml.model", kinds)
    elif kinds[0] != kinds[1]:
        # A name missing in the table may be a new name of the same kind.
        certain = all(header.tokenizer in _KINDS for header in (target, draft))
        yield _Problem(
            f"The tokenizers {'are' if certain else 'may be'} of different kinds: "
            f"the target's is {kinds[0]}, the draft's {kinds[1]}.",
            certain,
        )


def _special(name: str, target: Header, draft: Header, ids_always: bool) -> Iterator[_Problem]:
    """Rules 2 and 3. `name` is `bos` or `eos`."""
    added = _added(name, target), _added(name, draft)
    ids = _special_id(name, target), _special_id(name, draft)
    # llama.cpp derives missing values from these two, so the result is the same for both models.
    alike = (target.tokenizer, target.text(_PRE)) == (draft.tokenizer, draft.text(_PRE))
    same_id = ids[0] == ids[1] and (ids[0] is not None or alike)
    if None in added:
        if not (added[0] is added[1] and alike and same_id):
            yield _missing(f"tokenizer.ggml.add_{name}_token", added)
    elif added[0] != added[1]:
        who, other = ("target", "draft") if added[0] else ("draft", "target")
        yield _Problem(f"The {who} adds {name.upper()} to every prompt, the {other} does not.")
    elif (added[0] or ids_always) and not same_id:
        if None in ids:
            yield _missing(f"tokenizer.ggml.{name}_token_id", ids)
        else:
            yield _Problem(f"{name.upper()} is token {ids[0]} for the target and {ids[1]} for the draft.")


def _tokens(target: Array | None, draft: Array | None) -> Iterator[_Problem]:
    """Rules 4 and 5."""
    texts = [tokens if tokens is not None and tokens.holds_texts else None for tokens in (target, draft)]
    if texts[0] is None or texts[1] is None:
        yield _missing("tokenizer.ggml.tokens", texts)
    elif abs(len(texts[0]) - len(texts[1])) > _SIZE_DIFFERENCE:
        yield _Problem(
            f"The target's vocabulary has {len(texts[0])} tokens, the draft's {len(texts[1])}: "
            f"{_SIZE_DIFFERENCE} apart is the most that llama-server takes."
        )
    elif (difference := _first_difference(texts[0], texts[1])) is not None:
        token, ours, theirs = difference
        yield _Problem(f"Token {token}, the first that differs, is {ours} for the target and {theirs} for the draft.")


def _first_difference(target: Array, draft: Array) -> tuple[int, str, str] | None:
    """Returns the id of the first differing token, and the two texts as `repr`."""
    shorter, longer = sorted((target, draft), key=len)
    if longer.raw(_FIRST_COMPARED).startswith(shorter.raw(_FIRST_COMPARED)):
        return None
    for token, pair in enumerate(zip(target.texts(), draft.texts(), strict=False)):
        if token >= _FIRST_COMPARED and pair[0] != pair[1]:
            ours, theirs = (_as_loaded(token, text) for text in pair)
            if ours != theirs:
                return token, _shown(ours), _shown(theirs)
    return None


def _as_loaded(token: int, text: bytes) -> bytes:
    """Returns a token's text as llama.cpp loads it: it ends at a NUL, and is never empty."""
    return text.split(b"\0", 1)[0] or f"[EMPTY_{token}]".encode()


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "backslashreplace"))


def _kind(header: Header) -> str | None:
    return _KINDS.get(header.tokenizer, header.tokenizer) if header.tokenizer else None


def _added(name: str, header: Header) -> bool | None:
    """Tells whether the model's texts get this token.

    None means that neither the header nor llama.cpp's rules say so.
    """
    kind, pre = _kind(header), header.text(_PRE)
    if name == "bos" and "gemma4" in (header.tokenizer, pre):
        # llama.cpp overrides Gemma 4's header, which says no (PR 21500)
        return True
    configured = header.flag(f"tokenizer.ggml.add_{name}_token")
    if configured is not None or kind is None:
        return configured
    if kind == "BPE":
        return False if name == "eos" else pre in _PRE_ADDS_BOS or None
    default = _ADDED.get(kind)
    return default[name == "eos"] if default else None


def _special_id(name: str, header: Header) -> int | None:
    """Returns a special token's id. For an id outside of the vocabulary llama.cpp uses the tokenizer's default."""
    value = header.number(f"tokenizer.ggml.{name}_token_id")
    return value if value is not None and 0 <= value < (header.vocabulary_size or 0) else None


def _missing(key: str, values: Sequence[object]) -> _Problem:
    sides = [side for side, value in zip(("target", "draft"), values, strict=True) if value is None]
    return _Problem(f"{key} is missing from the {' and the '.join(sides)}, or not usable there.", certain=False)


def _mixture_of_experts(target: Header) -> Iterator[str]:
    experts = target.number("{arch}.expert_count") or 0
    if experts > 0:
        yield (
            f"The target is a mixture of {experts} experts: verifying several tokens at once touches more of them than "
            "one token does, so drafting gains less than with a dense model."
        )


def _size(target: int, draft: int) -> Iterator[str]:
    if draft > target * _LARGEST_SHARE:
        share = f"{draft / target:.2f} of" if draft <= target else f"{draft / target:.1f} times"
        yield (
            f"The draft ({_bytes(draft)}) is {share} the target's size ({_bytes(target)}): above about a fifth, "
            "drafting rarely gains."
        )


def _total_bytes(shards: Sequence[Path]) -> int:
    try:
        return sum(path.stat().st_size for path in shards)
    except OSError as error:
        raise GgufError(Path(error.filename), f"cannot be read: {error.strerror}") from None


def _bytes(size: int) -> str:
    return size_in_words(size, digits=1)
