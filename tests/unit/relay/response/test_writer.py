"""What a client is told, and what is written down of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.api.formats.openai import OpenAIFormat
from app.errors import UpstreamDiedError
from app.relay.response.writer import ResponseWriter, StreamAbortedError


class Client:
    """Its end of an exchange."""

    def __init__(self) -> None:
        self.reply = ResponseWriter(self._send, OpenAIFormat(), "r-1")
        self.status = 0
        self.body = b""
        self.whole = False

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.whole = not message.get("more_body", True)


def test_an_answer_is_told_and_written_down() -> None:
    """Its status, every byte, and that it ended."""

    async def main() -> None:
        client = Client()
        await client.reply.start(200, [])
        assert client.reply.started and not client.reply.ended
        await client.reply.write(b"one")
        await client.reply.end(b"two")
        assert (client.status, client.body, client.whole) == (200, b"onetwo", True)
        assert (client.reply.status, client.reply.ended) == (200, True)

    asyncio.run(main())


@pytest.mark.parametrize("status", [502, 400])
def test_an_answer_that_is_broken_off_has_no_end(status: int) -> None:
    """The client has its 200 already; what is written down is how it went."""

    async def main() -> None:
        client, error = Client(), UpstreamDiedError("gone")
        await client.reply.start(200, [])
        with pytest.raises(StreamAbortedError, match="gone"):
            await client.reply.break_off(b"last words", error, status)
        assert (client.status, client.body, client.whole) == (200, b"last words", False)
        assert (client.reply.status, client.reply.failure) == (status, error)

    asyncio.run(main())


def test_a_refusal_is_in_the_surfaces_words() -> None:
    """Status, body and end."""

    async def main() -> None:
        client = Client()
        await client.reply.refuse(UpstreamDiedError("gone"))
        assert (client.status, client.whole, client.reply.ended) == (502, True, True)
        assert b'"gone"' in client.body

    asyncio.run(main())
