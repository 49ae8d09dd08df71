"""A writer of answers fed by hand, as the relay feeds it."""

from __future__ import annotations

import json
from typing import Any

from app.api.translated.answer import AnswerWriter
from app.api.translated.chat_events import COMMENT, DONE, ChatEvent, ChatReader, StreamFailure, read_whole
from tests.support.chat_streams import chunks


def streamed(writer: AnswerWriter, stream: bytes, cut: int = 4096) -> bytes:
    """What the client gets of an upstream's stream that comes in pieces of `cut` bytes."""
    reader = ChatReader()
    out = [writer.begin()]
    for chunk in chunks(stream, cut):
        for part in reader.feed(chunk):
            if isinstance(part, ChatEvent):
                out.append(writer.event(part))
            elif part is COMMENT:
                out.append(writer.comment())
            elif part is DONE:
                out.append(writer.finish())
            else:
                assert isinstance(part, StreamFailure)
                out.append(writer.fail(part.fields))
    return b"".join(out)


def in_one_piece(writer: AnswerWriter, completion: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(writer.whole(read_whole(json.dumps(completion).encode()))))
    return body
