"""What a user of litellm writes; run by its own Python, with the gateway's root URL and three models' names.

Prints one line a check; the first that fails is a traceback and exit code 1.
"""

import asyncio
import json
import sys
from typing import Any

import litellm

URL, CHAT, EMBEDDER, TOOLS = sys.argv[1:5]
TALK: Any = json.loads(sys.argv[5])
litellm.suppress_debug_info = True  # it would print advice between our lines
COMMON: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": "none", "max_retries": 0}
SAID = [{"role": "user", "content": "Hello"}]


def whole_and_streamed() -> None:
    for name, base in ((f"openai/{CHAT}", f"{URL}/v1"), (f"anthropic/{CHAT}", URL), (f"ollama_chat/{CHAT}", URL)):
        call = COMMON | {"model": name, "messages": SAID, "max_tokens": 8, "api_base": base}
        answer = litellm.completion(**call)
        assert answer.choices[0].message.content, answer
        assert answer.usage.completion_tokens == 8, answer
        pieces = list(litellm.completion(**call, stream=True))
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces), pieces


def in_company() -> None:
    async def main() -> list[Any]:
        call = COMMON | {"model": f"openai/{CHAT}", "messages": SAID, "max_tokens": 8, "temperature": 0}
        return await asyncio.gather(*(litellm.acompletion(**call) for _ in range(4)))

    assert len({answer.choices[0].message.content for answer in asyncio.run(main())}) == 1


def text_completion() -> None:
    answer = litellm.text_completion(**COMMON, model=f"text-completion-openai/{CHAT}", prompt="Once", max_tokens=4)
    assert answer.choices[0].text


def embeddings() -> None:
    found = litellm.embedding(**COMMON, model=f"openai/{EMBEDDER}", input=["one", "two"])
    assert [len(row["embedding"]) for row in found.data] == [64, 64]


def tools() -> None:
    answer = litellm.completion(**COMMON, model=f"openai/{TOOLS}", max_tokens=60, **TALK)
    [call] = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}, answer


def errors() -> None:
    try:
        litellm.completion(**COMMON, model="openai/nope", messages=SAID)
    except litellm.NotFoundError as error:
        assert "'nope'" in str(error), error
    else:
        raise AssertionError("a model that is not there answered")
    try:
        long = [{"role": "user", "content": "word " * 4000}]
        litellm.completion(**COMMON, model=f"openai/{CHAT}", messages=long)
    except litellm.ContextWindowExceededError:
        pass
    else:
        raise AssertionError("a prompt that is too long was answered")


for check in (whole_and_streamed, in_company, text_completion, embeddings, errors, *([tools] if TOOLS else [])):
    check()
    print(check.__name__, flush=True)
