"""Amends fields of /v1/completions: several prompts, `echo`, `suffix`, `response_format`, `best_of`. Pure."""

from __future__ import annotations

import re
from typing import Any

from app.errors import InvalidBodyError
from app.relay.amendments.answer import Echoed
from app.relay.amendments.draft import Draft
from app.relay.amendments.formats import as_native, nested, refuse_ignored
from app.relay.amendments.infill import PATH

# A list of texts or of lists. A list of tokens is one prompt, and may be as long as a body
SEVERAL = re.compile(rb"\[\s*[\[\"]")
_LOOKED_AT = 1000


def amended_completion(draft: Draft) -> None:
    """Raises InvalidBodyError. Attached servers get `echo` and similar fields unchanged."""
    if draft.has("prompt") and SEVERAL.match(bytes(memoryview(draft.fields.prompt)[:_LOOKED_AT])):
        draft.prompts = _lengths(draft.value("prompt"))
    if not draft.ours:
        return
    if draft.has("best_of"):
        _best_of(draft)
    if draft.has("response_format"):
        _format(draft)
    if draft.has("suffix"):
        _suffix(draft)
    if draft.has("echo"):
        _echo(draft)


def _lengths(prompt: Any) -> list[int]:
    """The length of each of several prompts. llama-server takes a list with a token in it as one prompt."""
    if not isinstance(prompt, list) or any(isinstance(part, int) for part in prompt):
        return []
    return [len(part) if isinstance(part, str | list) else 0 for part in prompt] if len(prompt) > 1 else []


def _best_of(draft: Draft) -> None:
    best_of, n = draft.value("best_of"), draft.value("n") or 1
    if best_of != n:
        message = (
            f"'best_of' is not supported: llama-server does not choose among answers. Leave it out, "
            f"or request all answers with 'n' (now {n!r})."
        )
        raise InvalidBodyError(message, param="best_of")
    draft.drop.add("best_of")


def _format(draft: Draft) -> None:
    """Uses the native field: /v1/completions ignores OpenAI's."""
    response_format = nested(draft.value("response_format"))
    refuse_ignored(response_format)
    draft.values |= as_native(response_format)
    draft.drop.add("response_format")


def _suffix(draft: Draft) -> None:
    suffix, prompt = draft.value("suffix"), draft.value("prompt")
    if not isinstance(suffix, str):
        raise InvalidBodyError("'suffix' must be a string.", param="suffix")
    draft.drop.add("suffix")
    if not suffix:
        return
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    for name, fits, words in (
        ("prompt", isinstance(prompt, str), "'prompt' must be one text if 'suffix' is set."),
        ("n", draft.value("n") in (None, 1), "'n' must be 1 if 'suffix' is set."),
        ("echo", not draft.value("echo"), "'echo' must be left out if 'suffix' is set."),
    ):
        if not fits:
            raise InvalidBodyError(words, param=name)
    draft.target = PATH
    draft.values |= {"input_prefix": prompt, "input_suffix": suffix}
    draft.drop |= {"prompt", "n", "echo"}


def _echo(draft: Draft) -> None:
    echo = draft.value("echo")
    if not isinstance(echo, bool):
        raise InvalidBodyError("'echo' must be true or false.", param="echo")
    draft.drop.add("echo")
    if not echo:
        return
    prompt = draft.value("prompt")
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if not prompts or not all(isinstance(text, str) for text in prompts):
        raise InvalidBodyError("'echo' needs prompts that are texts; these are tokens.", param="echo")
    if draft.fields.wants_logprobs:
        message = "'echo' with 'logprobs' is not supported: llama-server reports none for prompts."
        raise InvalidBodyError(message, param="echo")
    n = draft.value("n")
    draft.changes.append(Echoed(prompts, n if isinstance(n, int) and n > 0 else 1))
