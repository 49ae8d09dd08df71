"""Fields of a wrong type or range that llama-server (b11434) ignores or misreads, and the place that is refused."""

from __future__ import annotations

from typing import Any

CHAT, COMPLETIONS, NATIVE = "/v1/chat/completions", "/v1/completions", "/completion"
# What each path needs
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
    COMPLETIONS: {"prompt": "Hello", "max_tokens": 1},
    NATIVE: {"prompt": "Hello", "n_predict": 1},
}
OF_ALL = tuple(BODIES)

# Name, value, place
Wrong = tuple[str, Any, str]


def _each(name: str, *values: Any, place: str = "") -> list[Wrong]:
    return [(name, value, f"{name}{place}") for value in values]


OF_SAMPLING: list[Wrong] = [
    *_each("grammar", 5, ["root"], {}, True),
    *_each("logit_bias", 5, "x", True, {"": -100}, {"-1": 1}, {"99999999999": 1}),
    *_each("logit_bias", {"1": "5"}, {"1": True}, {"1": None}, {"1": [1]}, place=".1"),
    *_each("logit_bias", [5], [[1]], [[1, 2, 3]], [{"1": 2}], place="[0]"),
    *_each("logit_bias", [[1, 1], [-1, 1]], place="[1][0]"),
    *_each("logit_bias", [[True, 1]], [["", 1]], place="[0][0]"),
    *_each("logit_bias", [["a", "b"]], [[1, True]], place="[0][1]"),
    *_each("samplers", 5, {}, True, "kz"),
    *_each("samplers", ["top_k", "nonsense"], ["top_k", 5], place="[1]"),
    *_each("stop", 5, {}, True),
    *_each("stop", ["a", 5], ["a", []], ["a", None], place="[1]"),
    *_each("max_tokens", True, 1.5, "5", 2**32 + 1),
    *_each("n_predict", True, 1.5, "5", 2**32 + 1),
    *_each("n", True, 1.5, "5", 2**32 + 1),
    *_each("n_probs", -1, True, 1.5, 10**10),
    *_each("logprobs", -1, 1.5, "x", []),
    *_each("seed", 1.5, True, "5", 10**20),
    *_each("id_slot", "0", -7, 1.5, True),
    *_each("top_k", True, 1.5, "x"),
    *_each("temperature", -1, True, "x"),
    *_each("top_p", -0.5, 1.5, True),
    *_each("min_p", -1, 2),
    *_each("mirostat", 5, 1.5, -1),
    *_each("presence_penalty", True, "x"),
    *_each("stream_options", "x", 5, []),
    *_each("stream_options", {"include_usage": "x"}, place=".include_usage"),
    *_each("lora", 5, {}),
    *_each("lora", [5], ["x"], place="[0]"),
    *_each("lora", [{}], [{"id": "0", "scale": 1}], [{"id": -1, "scale": 1}], place="[0].id"),
    *_each("lora", [{"id": 0}], [{"id": 0, "scale": "x"}], place="[0].scale"),
    *_each("response_fields", "content", 5, [5]),
    *_each("t_max_predict_ms", 1.5),
    ("json_schema", {"type": "object"}, "grammar"),  # beside a grammar
]
OF_CHATS: list[Wrong] = [
    *_each("chat_template_kwargs", "x", 5, [1], True),
    *_each("chat_template_kwargs", {"enable_thinking": "false"}, {"enable_thinking": 0}, place=".enable_thinking"),
    *_each("enable_thinking", "false", 0),
    *_each("reasoning_effort", 5, {}, True),
    *_each("reasoning_format", 5, True),
    *_each("thinking_budget_tokens", "5", -5, 1.5),
    *_each("reasoning_budget_tokens", "5", -5, 1.5),
    *_each("reasoning_budget_message", 5),
    *_each("parallel_tool_calls", "x", 1),
    *_each("add_generation_prompt", "x", 1),
    *_each("reasoning_control", "x", 1),
    *_each("continue_final_message", "x", 5, []),
    *_each("top_logprobs", -1, "5", 1.5),
    *_each("modalities", ["audio"], ["text", "audio"], "text"),
    *_each("verbosity", "low", "high", "x", 5),
    *_each("audio", {"voice": "alloy", "format": "wav"}),
    *_each("web_search_options", {}),
]
WRONG = [(path, *wrong) for path in OF_ALL for wrong in OF_SAMPLING] + [(CHAT, *wrong) for wrong in OF_CHATS]
# Right, if unusual: these stay as they are
RIGHT: list[tuple[str, Any]] = [
    ("max_tokens", 1.0),
    ("top_k", -1),
    ("seed", -1),
    ("seed", 2**40),
    ("seed", 2**64 - 1),
    ("temperature", 3),
    ("logprobs", False),
    ("logprobs", 0),
    ("logit_bias", {}),
    ("logit_bias", {"5": False, "hello": -1.5}),
    ("logit_bias", [[5, False], ["hello", 2]]),
    ("samplers", ["top-k", "temp", "Min_P"]),
    ("samplers", "edkypmxt"),
    ("id_slot", -1),
    ("stop", []),
    ("stream_options", {}),
    ("lora", []),
]


def asked(path: str, name: str, value: Any) -> dict[str, Any]:
    """A request with the field."""
    more = {"grammar": 'root ::= "a"'} if name == "json_schema" else {}
    return BODIES[path] | more | {name: value}
