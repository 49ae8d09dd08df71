"""Types and ranges of fields that llama-server (b11434) ignores or misreads if they are wrong. Pure.

It takes `true` as 1, 1.5 as 1 and 4294967297 as 1, limits a number to its range, and uses its default for any other
type. The decoder of the routing fields compares types at no cost. Only a request that fails there is checked by
`error_in`, which accepts more (2.0 as a whole number) and tells the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

_LARGEST = 2**31 - 1
# A place within the field, and what is right there
Error = tuple[str, str]


class FieldType(NamedTuple):
    """`decoded_as` is for the decoder; None for a field that is always checked."""

    decoded_as: Any
    error_in: Callable[[Any], Error | None]


def _whole(least: int, most: int = _LARGEST) -> FieldType:
    limits = f"of {least} or more" if most == _LARGEST else f"from {least} to {most}"
    if least == -_LARGEST - 1:
        limits = f"up to {_LARGEST}"

    def error_in(value: Any) -> Error | None:
        right = _is_number(value) and value == value // 1 and least <= value <= most
        return None if right else ("", f"must be a whole number {limits}")

    return FieldType(Annotated[int, msgspec.Meta(ge=least, le=min(most, 2**63 - 1))], error_in)


def _number(least: float | None = None, most: float | None = None) -> FieldType:
    limits = f" from {least:g} to {most:g}" if least is not None and most is not None else ""
    limits = limits or (f" of {least:g} or more" if least is not None else "")
    limits = limits or (f" of {most:g} or less" if most is not None else "")

    def error_in(value: Any) -> Error | None:
        right = _is_number(value) and (least is None or value >= least) and (most is None or value <= most)
        return None if right else ("", f"must be a number{limits}")

    return FieldType(Annotated[float, msgspec.Meta(ge=least, le=most)], error_in)


def _of(kind: type, words: str) -> FieldType:
    return FieldType(kind, lambda value: None if isinstance(value, kind) else ("", words))


def _refused(reason: str) -> FieldType:
    return FieldType(None, lambda _: ("", f"is not supported: {reason}"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first(errors: Callable[[Any], Iterator[Error]]) -> Callable[[Any], Error | None]:
    return lambda value: next(errors(value), None)


def _biases(value: Any) -> Iterator[Error]:
    if isinstance(value, dict):
        for token, bias in value.items():
            if not token or (token.lstrip("-").isdecimal() and not 0 <= int(token[:11]) <= _LARGEST):
                yield "", f"has the key '{token}'; keys must be tokens, by number or text"
            if not _is_bias(bias):
                yield f".{token}", "must be a number, or false to forbid the token"
        return
    if not isinstance(value, list):
        yield "", "must be an object from tokens to numbers, or a list of [token, number]"
        return
    for i, pair in enumerate(value):
        if not isinstance(pair, list) or len(pair) != 2:
            yield f"[{i}]", "must be [token, number]"
            return
        token, bias = pair
        if not (isinstance(token, str) and token) and (
            not isinstance(token, int) or isinstance(token, bool) or not 0 <= token <= _LARGEST
        ):
            yield f"[{i}][0]", "must be a token, by number or text"
        if not _is_bias(bias):
            yield f"[{i}][1]", "must be a number, or false to forbid the token"


def _is_bias(value: Any) -> bool:
    return value is False or _is_number(value)


# llama-server takes these in other spellings too, and drops unknown ones
_SAMPLERS = (
    *("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"),
    *("adaptive_p", "infill"),
)
_SPELLINGS = frozenset(
    spelling for name in _SAMPLERS for spelling in (name, name.replace("_", "-"), name.replace("_", ""))
) | {"nucleus", "temp", "typ"}
_LETTERS = frozenset("edskypmxtai")


def _samplers(value: Any) -> Iterator[Error]:
    words = f"is no sampler; the samplers are {', '.join(_SAMPLERS)}"
    if isinstance(value, str):
        for letter in value:
            if letter not in _LETTERS:
                yield "", f"has '{letter}', which {words}"
    elif not isinstance(value, list):
        yield "", "must be a list of samplers' names, or a text of their letters"
    else:
        for i, name in enumerate(value):
            if not isinstance(name, str) or name.lower() not in _SPELLINGS:
                yield f"[{i}]", words


def _adapters(value: Any) -> Iterator[Error]:
    if not isinstance(value, list):
        yield "", "must be a list of objects with 'id' and 'scale'"
        return
    for i, adapter in enumerate(value):
        if not isinstance(adapter, dict):
            yield f"[{i}]", "must be an object with 'id' and 'scale'"
            continue
        number = adapter.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            yield f"[{i}].id", "must be the number of an adapter (/lora-adapters lists them)"
        if not _is_number(adapter.get("scale")):
            yield f"[{i}].scale", "must be a number"


def _names(value: Any) -> Iterator[Error]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        yield "", "must be a list of strings"


def _template_values(value: Any) -> Iterator[Error]:
    if not isinstance(value, dict):
        yield "", "must be an object of values for the chat template"
    elif not isinstance(value.get("enable_thinking"), bool | None):
        yield ".enable_thinking", "must be true or false"


def _modalities(value: Any) -> Iterator[Error]:
    if value != ["text"] and value != []:
        yield "", 'must be ["text"]: models here answer in text only'


def _stop_words(value: Any) -> Iterator[Error]:
    if not isinstance(value, str | list):
        yield "", "must be a string, or a list of strings"
    elif isinstance(value, list):
        yield from ((f"[{i}]", "must be a string") for i, word in enumerate(value) if not isinstance(word, str))


def _stream_options(value: Any) -> Iterator[Error]:
    if not isinstance(value, dict):
        yield "", "must be an object"
    elif not isinstance(value.get("include_usage"), bool | None):
        yield ".include_usage", "must be true or false"


def _probabilities(value: Any) -> Iterator[Error]:
    if not isinstance(value, bool) and _COUNT.error_in(value):
        yield "", "must be true or false, or a number of tokens"


def _verbosities(value: Any) -> Iterator[Error]:
    if value in ("low", "high"):
        yield "", "is not supported: put it into the instructions"
    elif value != "medium":
        yield "", "must be medium, which is how models here answer"


def _encodings(value: Any) -> Iterator[Error]:
    if value not in ("float", "base64"):
        yield "", "must be float or base64"


def _continuation(value: Any) -> Iterator[Error]:
    if not isinstance(value, bool) and value not in ("content", "reasoning_content"):
        yield "", "must be true or false, content or reasoning_content"


class _TemplateValues(msgspec.Struct):
    enable_thinking: bool = True


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_FLAG = _of(bool, "must be true or false")
_TEXT = _of(str, "must be a string")
_INT = _whole(-_LARGEST - 1)  # the engine has a limit of its own, and says so
_COUNT = _whole(0)
_SHARE = _number(0, 1)
# Of every completion
_SAMPLING: dict[str, FieldType] = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n_predict", "n_cmpl", "n_indent"), _INT),
    **dict.fromkeys(("n_keep", "n_discard", "n_cache_reuse", "min_keep", "top_k"), _INT),
    **dict.fromkeys(("repeat_last_n", "dry_allowed_length", "dry_penalty_last_n", "sse_ping_interval"), _INT),
    "t_max_predict_ms": _whole(-1, 2**63 - 1),
    "seed": _whole(-(2**63), 2**64 - 1),
    "id_slot": _whole(-1),
    "mirostat": _whole(0, 2),
    "temperature": _number(0),
    "adaptive_target": _number(None, 1),
    **dict.fromkeys(("top_p", "min_p", "xtc_probability", "xtc_threshold"), _SHARE),
    **dict.fromkeys(("top_n_sigma", "typical_p", "dynatemp_range", "dynatemp_exponent", "repeat_penalty"), _number()),
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "dry_multiplier", "dry_base"), _number()),
    **dict.fromkeys(("mirostat_tau", "mirostat_eta", "adaptive_decay"), _number()),
    "n": _INT,
    "n_probs": _COUNT,
    "logprobs": FieldType(bool | _COUNT.decoded_as, _first(_probabilities)),
    "stop": FieldType(str | list[str], _first(_stop_words)),
    "stream_options": FieldType(_StreamOptions, _first(_stream_options)),
    "grammar": _TEXT,
    # Checked beside `grammar`
    "json_schema": FieldType(None, lambda _: None),
    "logit_bias": FieldType(dict[Annotated[str, msgspec.Meta(pattern=r"^\d{1,9}$")], float], _first(_biases)),
    "samplers": FieldType(None, _first(_samplers)),
    "lora": FieldType(None, _first(_adapters)),
    "response_fields": FieldType(list[str], _first(_names)),
}
_OF_CHATS: dict[str, FieldType] = _SAMPLING | {
    **dict.fromkeys(("parallel_tool_calls", "add_generation_prompt", "reasoning_control"), _FLAG),
    **dict.fromkeys(("thinking_budget_tokens", "reasoning_budget_tokens"), _whole(-1)),
    **dict.fromkeys(("reasoning_effort", "reasoning_format", "reasoning_budget_message"), _TEXT),
    "top_logprobs": _COUNT,
    "continue_final_message": FieldType(bool | Literal["content", "reasoning_content"], _first(_continuation)),
    # Moved into `chat_template_kwargs`
    "enable_thinking": FieldType(None, _FLAG.error_in),
    "chat_template_kwargs": FieldType(_TemplateValues, _first(_template_values)),
    "modalities": FieldType(list[Literal["text"]], _first(_modalities)),
    "verbosity": FieldType(Literal["medium"], _first(_verbosities)),
    "audio": _refused("models here answer in text only"),
    "web_search_options": _refused("the gateway does not search the web; define a tool that does"),
}
_OF_EMBEDDINGS: dict[str, FieldType] = {
    "encoding_format": FieldType(Literal["float", "base64"], _first(_encodings)),
    "embd_normalize": _whole(-1),
}
_OF_RANKS: dict[str, FieldType] = {"top_n": _whole(1), "return_text": _FLAG}
_OF_TOKENS: dict[str, FieldType] = dict.fromkeys(("add_special", "parse_special", "with_pieces"), _FLAG)
FIELD_TYPES: dict[str, dict[str, FieldType]] = {
    "/v1/embeddings": _OF_EMBEDDINGS,
    **dict.fromkeys(("/v1/rerank", "/v1/reranking"), _OF_RANKS),
    "/tokenize": _OF_TOKENS,
    **dict.fromkeys(("/v1/chat/completions", "/v1/chat/completions/input_tokens", "/apply-template"), _OF_CHATS),
    **dict.fromkeys(("/v1/completions", "/completion", "/infill"), _SAMPLING),
}
# What a decoder can compare, by field; nulls are right
DECODED_AS = {
    name: kind.decoded_as | None if kind.decoded_as else None
    for kinds in FIELD_TYPES.values()
    for name, kind in kinds.items()
}


def right_as_written(path: str, name: str, text: bytes) -> bool:
    """Tells whether a field is right, by its JSON, or the beginning of it. False if only `error_in` can tell."""
    kind = FIELD_TYPES.get(path, {}).get(name)
    if kind is None:
        return True
    if kind.decoded_as is None:
        return False
    if kind.decoded_as is str:
        return text.startswith(b'"')
    try:
        msgspec.json.decode(text, type=kind.decoded_as)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
