"""Reads token counts from the end of an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of an answer. `prompt` includes `cached`, `completion` includes `reasoning`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0


def token_counts(usage: dict[str, Any], timings: dict[str, Any], *, thought: int, said: int) -> TokenCounts:
    """Returns the counts. `thought` and `said` are the characters of thoughts and of everything.

    llama-server does not count thoughts separately: their share is estimated by length.
    """
    cached = number_of(usage.get("prompt_tokens_details"), "cached_tokens") or number_of(timings, "cache_n")
    prompt = number_of(usage, "prompt_tokens") or number_of(timings, "prompt_n") + number_of(timings, "cache_n")
    completion = number_of(usage, "completion_tokens") or number_of(timings, "predicted_n")
    details = usage.get("completion_tokens_details")
    if isinstance(details, dict) and details.get("reasoning_tokens") is not None:
        reasoning = number_of(details, "reasoning_tokens")
    else:
        reasoning = round(completion * thought / said) if said else 0
    return TokenCounts(prompt, min(cached, prompt), completion, min(reasoning, completion))


def number_of(fields: Any, name: str) -> int:
    """Returns a count, or 0 if it is missing."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
