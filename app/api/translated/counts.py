"""Reads token counts from the end of an answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.relay.amendments.sums import cached_tokens, completion_tokens, number_of, prompt_tokens


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
    prompt, completion = prompt_tokens(usage, timings), completion_tokens(usage, timings)
    details = usage.get("completion_tokens_details")
    if isinstance(details, dict) and details.get("reasoning_tokens") is not None:
        reasoning = number_of(details, "reasoning_tokens")
    else:
        reasoning = round(completion * thought / said) if said else 0
    return TokenCounts(prompt, min(cached_tokens(usage, timings), prompt), completion, min(reasoning, completion))
