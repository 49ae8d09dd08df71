"""Sums the tokens of an answer with several choices, of which llama-server counts one. Pure.

A stream has usage, timings or both at the end of each choice. An answer in one piece has those of the first choice only
(b11434). Choices of one prompt follow each other: the prompt of choice `i` is `i // per_prompt`.
"""

from __future__ import annotations

from typing import Any

from app.relay.response.usage import Usage

Counts = dict[str, Any]
_NOTHING: tuple[Counts, Counts] = ({}, {})


class ChoiceCounts:
    """Collects the counts of each choice; `per_prompt` is the number of choices per prompt."""

    __slots__ = ("_completion", "_ends", "_firsts", "_per_prompt", "_prompt", "_reported")

    def __init__(self, per_prompt: int) -> None:
        self._per_prompt = max(1, per_prompt)
        # By choice, the latest usage and timings; by prompt, its first choice
        self._ends: dict[int, tuple[Counts, Counts]] = {}
        self._firsts: dict[int, int] = {}
        # Sums over these, kept up to date: an engine may report the usage in every event
        self._completion = 0
        self._prompt = (0, 0)
        # The first usage that was reported
        self._reported: Counts = {}

    def add(self, index: int, usage: Any, timings: Any) -> None:
        """Adds the counts of choice `index` in an event; anything but an object is ignored."""
        before = self._ends.get(index, _NOTHING)
        end = (
            usage if isinstance(usage, dict) else before[0],
            timings if isinstance(timings, dict) else before[1],
        )
        prompt = index // self._per_prompt
        first = self._firsts.setdefault(prompt, index)
        if index <= first:
            self._count_prompt(self._ends.get(first, _NOTHING), end)
            self._firsts[prompt] = index
        self._ends[index] = end
        self._completion += completion_tokens(*end) - completion_tokens(*before)
        self._reported = self._reported or end[0]

    def _count_prompt(self, before: tuple[Counts, Counts], after: tuple[Counts, Counts]) -> None:
        prompt, cached = self._prompt
        self._prompt = (
            prompt + prompt_tokens(*after) - prompt_tokens(*before),
            cached + cached_tokens(*after) - cached_tokens(*before),
        )

    def usage(self) -> Counts:
        """OpenAI's `usage` of all choices with counts; each prompt counts once."""
        completion, (prompts, cached) = self._completion, self._prompt
        return self._reported | {
            "completion_tokens": completion,
            "prompt_tokens": prompts,
            "total_tokens": prompts + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def counts(self) -> Usage | None:
        """The sum as the relay records it; None with less than two choices."""
        if len(self._ends) < 2:
            return None
        usage, timings = self.usage(), [timings for _, timings in self._ends.values()]
        drafts = any("draft_n" in each for each in timings)
        return Usage(
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            drafted=sum(number_of(each, "draft_n") for each in timings) if drafts else None,
            accepted=sum(number_of(each, "draft_n_accepted") for each in timings) if drafts else None,
            cached=usage["prompt_tokens_details"]["cached_tokens"],
        )


def completion_tokens(usage: Counts, timings: Counts) -> int:
    return number_of(usage, "completion_tokens") or number_of(timings, "predicted_n")


def prompt_tokens(usage: Counts, timings: Counts) -> int:
    return number_of(usage, "prompt_tokens") or number_of(timings, "prompt_n") + number_of(timings, "cache_n")


def cached_tokens(usage: Counts, timings: Counts) -> int:
    return number_of(usage.get("prompt_tokens_details"), "cached_tokens") or number_of(timings, "cache_n")


def number_of(fields: Any, name: str) -> int:
    """Returns a count, or 0 if it is missing."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def shared_out(choices: list[Any], first: int) -> int:
    """The tokens of all choices, `first` for the first: by log probabilities, else estimated by text length."""
    lengths = [_length(choice) for choice in choices]
    tokens = [_probabilities(choice) for choice in choices]
    rate = first / lengths[0] if lengths[0] else 0.0
    others = zip(tokens[1:], lengths[1:], strict=True)
    return first + sum(known or max(round(length * rate), int(length > 0)) for known, length in others)


def _probabilities(choice: Any) -> int:
    logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return len(content) if isinstance(content, list) else 0


def _length(choice: Any) -> int:
    if not isinstance(choice, dict):
        return 0
    message = choice.get("message") or {"content": choice.get("text")}
    texts = [message.get("content"), message.get("reasoning_content")]
    texts += [call["function"].get("arguments") for call in message.get("tool_calls") or ()]
    return sum(len(text) for text in texts if isinstance(text, str))
