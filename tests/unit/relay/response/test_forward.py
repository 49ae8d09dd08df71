"""What of an upstream's answer the client is told in headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from app.api.formats.openai import OpenAIFormat
from app.relay.record import AnswerMeter
from app.relay.response.forward import forward
from app.relay.response.writer import ResponseWriter
from app.speculation.status import Status

BODY = b'{"usage":{"prompt_tokens":3,"completion_tokens":2},"timings":{"draft_n":4,"draft_n_accepted":1}}'
DRAFTS = Status("draft-simple", True, "draft-simple")


async def chunks() -> AsyncIterator[bytes]:
    yield BODY


@pytest.mark.parametrize(
    ("speculation", "status", "kind", "told"),
    [
        (DRAFTS, 200, "application/json; charset=utf-8", b"draft-simple; drafted=4; accepted=1"),
        (Status("draft-simple", False, "none", "off"), 200, "application/json", b"none; drafted=4; accepted=1"),
        (DRAFTS, 200, "text/event-stream", None),
        (DRAFTS, 400, "application/json", None),
        (Status(), 200, "application/json", b"none; drafted=4; accepted=1"),
        (None, 200, "application/json", None),
    ],
)
def test_only_good_whole_answers_of_engines_of_ours_tell_what_was_drafted(
    speculation: Status | None, status: int, kind: str, told: bytes | None
) -> None:
    """Errors, streams and servers of others pass as they are; what was used is known of each."""

    async def main() -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        response: Any = SimpleNamespace(status=status, content_type=kind.encode(), raw_headers=(), chunks=chunks)
        call, destination = SimpleNamespace(headers=[], answer=None), SimpleNamespace(speculation=speculation)
        writer = ResponseWriter(send, OpenAIFormat(), "r-1")
        usage = await forward(
            call,  # type: ignore[arg-type]
            destination,  # type: ignore[arg-type]
            response,
            writer,
            AnswerMeter(),
            comment_every=10,
        )
        assert dict(sent[0]["headers"]).get(b"x-tandem-speculation") == told
        assert (usage.prompt_tokens, usage.completion_tokens, usage.drafted) == (3, 2, 4)
        assert (writer.started, writer.ended, writer.status) == (True, True, status)

    asyncio.run(main())
