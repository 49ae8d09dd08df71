"""Measures one block: sends concurrent requests to an engine and reads the timings in its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from app.errors import UpstreamDiedError, UpstreamError
from app.supervisor.engine_client import engine_client
from app.supervisor.readiness import EngineAddress
from app.tuning.design import Cell
from app.tuning.prompts import Prompt, chat
from app.tuning.statistics import Sample, union

WARM_UP_TOKENS = 16
_WARM_UP = chat("Count from one to thirty in words, separated by commas.")


@dataclass(frozen=True, slots=True)
class MeasuredAnswer:
    """`begin` and `end` enclose the decoding, in seconds of the loop's clock.

    `tokens` excludes the first token, which prefill produces (b11434 computes `predicted_per_second` likewise).
    """

    text: str
    tokens: int
    begin: float
    end: float
    drafted: int
    accepted: int


def connect(address: EngineAddress) -> httpx2.AsyncClient:
    """Returns a client without a read timeout: slow machines take minutes for an answer, and a crash closes the
    connection.

    It keeps no connections: llama-server closes idle ones after 5 s, and a block must not begin with a closed one.
    """
    return engine_client(
        address.base_url,
        address.key,
        httpx2.Timeout(None, connect=10),
        keeps_connections=False,
    )


async def warm_up(client: httpx2.AsyncClient) -> float | None:
    """Returns tokens per second of a first answer, which loads weights into memory and is not counted.

    Raises the errors of `ask`.
    """
    answer = await ask(client, _WARM_UP, WARM_UP_TOKENS)
    return answer.tokens / (answer.end - answer.begin) if answer.tokens and answer.end > answer.begin else None


async def block(
    client: httpx2.AsyncClient, cell: Cell, prompts: Sequence[Prompt], tokens: int
) -> tuple[Sample | None, list[str]]:
    """Returns the block's sample, None if nothing was decoded, and the answers' texts. Raises the errors of `ask`."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_errors_as_values(client, prompt, tokens)) for prompt in prompts]
    answers = [task.result() for task in tasks]
    for answer in answers:
        if isinstance(answer, UpstreamError):
            raise answer
    measured = [answer for answer in answers if isinstance(answer, MeasuredAnswer)]
    count, seconds = sum(answer.tokens for answer in measured), union((answer.begin, answer.end) for answer in measured)
    texts = [answer.text for answer in measured]
    if count <= 0 or seconds <= 0:
        return None, texts
    drafted, accepted = sum(answer.drafted for answer in measured), sum(answer.accepted for answer in measured)
    return Sample(cell, count, seconds, drafted, accepted), texts


async def _errors_as_values(client: httpx2.AsyncClient, prompt: Prompt, tokens: int) -> MeasuredAnswer | UpstreamError:
    # A task group would wrap the error and cancel the block's other requests.
    try:
        return await ask(client, prompt, tokens)
    except UpstreamError as error:
        return error


async def ask(client: httpx2.AsyncClient, prompt: Prompt, tokens: int) -> MeasuredAnswer:
    """Requests a greedy completion without the prompt cache.

    Raises UpstreamDiedError if the connection ends, and UpstreamError if the engine refuses.
    """
    body = {**prompt.body, "temperature": 0, "cache_prompt": False, "max_tokens": tokens, "stream": False}
    try:
        response = await client.post(prompt.path, json=body)
        end = asyncio.get_running_loop().time()
        answer = response.json()
    except httpx2.HTTPError as error:
        raise UpstreamDiedError(f"The engine does not answer: {error or type(error).__name__}.") from None
    except ValueError:
        raise UpstreamError(f"The engine answered {response.status_code} without JSON.") from None
    if response.status_code != 200:
        detail = _of(answer, "error").get("message", answer)
        raise UpstreamError(f"The engine answered {response.status_code}: {detail}")
    return _read(answer, end)


def _read(answer: Any, end: float) -> MeasuredAnswer:
    timings = _of(answer, "timings")
    if not isinstance(timings.get("predicted_n"), int) or not isinstance(timings.get("predicted_ms"), int | float):
        raise UpstreamError("This llama-server gives no timings, so nothing can be measured with it.")
    seconds = max(0.0, timings["predicted_ms"] / 1000)
    counts = [timings.get(key, 0) for key in ("draft_n", "draft_n_accepted")]
    drafted, accepted = (count if isinstance(count, int) else 0 for count in counts)
    return MeasuredAnswer(_text(answer), max(0, timings["predicted_n"] - 1), end - seconds, end, drafted, accepted)


def _text(answer: Any) -> str:
    choices = answer.get("choices") or [{}]
    message = _of(choices[0], "message")
    parts = (message.get("reasoning_content"), message.get("content"), choices[0].get("text"))
    return "".join(part for part in parts if isinstance(part, str))


def _of(value: Any, key: str) -> dict[str, Any]:
    member = value.get(key) if isinstance(value, dict) else None
    return member if isinstance(member, dict) else {}
