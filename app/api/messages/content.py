"""Converts Messages and their blocks to chat messages. Pure. Raises InvalidBodyError with the block's place."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.translated.fields import Fields, said, wrong
from app.api.translated.media import Part, content_of, file_part, image_part, text_part, titled
from app.api.translated.opaque import unpack
from app.api.translated.places import PlacedObject
from app.api.translated.tools import call

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
ChatMessage = dict[str, Any]


def chat_messages(messages: list[Fields], kept_thoughts: int | None = None) -> list[ChatMessage]:
    """Converts messages in order.

    `kept_thoughts` is the number of last assistant turns that keep their thoughts, or None for all.
    """
    chat: list[ChatMessage] = []
    for message in messages:
        role = message.needed_one_of("role", ("user", "assistant", "system"))
        if message.get("content") is None:
            raise message.wrong("content", "is missing; it must be text or a list of blocks")
        if role == "system":
            chat.append({"role": "system", "content": system_text(message, "content")})
        elif role == "assistant":
            chat.append(_assistant(message))
        else:
            chat += _user(message)
    _forget_thoughts(chat, kept_thoughts)
    return chat


def system_text(holder: Fields, name: str) -> str:
    """Returns the text of a system prompt: a text, or blocks of text."""
    value = holder.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise holder.wrong(name, "must be text or a list of text blocks")
    texts = []
    for block in holder.objects(name):
        if block.get("type") != "text":
            raise block.wrong("type", "must be text")
        texts.append(_text(block))
    return "\n\n".join(texts)


def _forget_thoughts(chat: list[ChatMessage], kept: int | None) -> None:
    if kept is None:
        return
    thoughtful = [message for message in chat if "reasoning_content" in message]
    for message in thoughtful[:-kept] if kept else thoughtful:
        del message["reasoning_content"]


def _blocks(holder: Fields, name: str) -> list[Fields]:
    value = holder.get(name)
    if isinstance(value, str):
        return [Fields({"type": "text", "text": value}, holder.where(name))]
    if value is not None and not isinstance(value, list):
        raise holder.wrong(name, "must be text or a list of blocks")
    return holder.objects(name)


def _user(message: Fields) -> list[ChatMessage]:
    """Converts a user's message: first tool results as messages of their own, then the rest."""
    results: list[ChatMessage] = []
    parts: list[Part] = []
    for block in _blocks(message, "content"):
        if block.get("type") == "tool_result":
            results.append(_tool_result(block))
        else:
            parts += shown(block)
    if parts or not results:
        results.append(PlacedObject({"role": "user", "content": content_of(parts)}, message.place))
    return results


def _tool_result(block: Fields) -> ChatMessage:
    parts = [part for inner in _blocks(block, "content") for part in shown(inner)]
    content = content_of(parts)
    if block.flag("is_error"):
        content = _as_error(content)
    return PlacedObject(
        {"role": "tool", "tool_call_id": block.needed_text("tool_use_id"), "content": content}, block.place
    )


def _as_error(content: str | list[Part]) -> str | list[Part]:
    """Marks a failed tool result in its text, since chat completions have no field for it."""
    if isinstance(content, list):
        return [text_part("Error:"), *content]
    return content if content.lower().startswith("error") else f"Error: {content or 'the tool failed.'}"


def shown(block: Fields) -> list[Part]:
    """Returns the parts that a block shows to a model: text, images, documents, search results."""
    kind = block.get("type")
    if kind == "text":
        return [text_part(_text(block))]
    if kind == "image":
        return [PlacedObject(_image(block), block.place)]
    if kind == "document":
        return _document(block)
    if kind == "search_result":
        return _search_result(block)
    if kind == "tool_reference":
        # All tools of a request are in its prompt
        return [text_part(f"The tool {block.needed_text('tool_name')} is available.")]
    raise block.wrong("type", _unknown(kind))


def _unknown(kind: object) -> str:
    return f"{said(kind)}, which is not supported here" if isinstance(kind, str) else said(kind)


def _text(block: Fields) -> str:
    text = block.text("text")
    if text is None:
        raise block.wrong("text", "is missing")
    return text


def _source(block: Fields) -> tuple[Fields, str | None]:
    source = block.needed_object("source")
    kind = source.text("type")
    if kind == "file":
        raise source.wrong("type", "is file, but the gateway stores no files; send the content")
    return source, kind


def _image(block: Fields) -> Part:
    block.refuse({"transformations": "the gateway does not transform images"})
    source, kind = _source(block)
    if kind == "url":
        return image_part(source.needed_text("url"))
    if kind != "base64":
        raise source.wrong("type", "must be base64 or url")
    media_type = source.one_of("media_type", _IMAGES)
    return image_part(f"data:{media_type or 'image/png'};base64,{source.needed_text('data')}")


def _document(block: Fields) -> list[Part]:
    """Converts a document to text, after its title and context."""
    if (citations := block.object("citations")) is not None and citations.flag("enabled"):
        raise citations.wrong("enabled", "is not supported: models here give no citations")
    source, kind = _source(block)
    heading = "\n".join(text for name in ("title", "context") if (text := block.text(name)))
    if kind == "text":
        if (text := source.text("data")) is None:
            raise source.wrong("data", "is missing")
        return [text_part(titled(text, heading))]
    if kind == "content":
        parts = [part for inner in _blocks(source, "content") for part in shown(inner)]
        return [*([text_part(heading)] if heading else []), *parts]
    if kind == "base64":
        media_type = source.text("media_type") or ""
        return [PlacedObject(file_part(source, "data", source.needed_text("data"), media_type, heading), block.place)]
    raise source.wrong("type", "must be text, content or base64: the gateway fetches no documents")


def _search_result(block: Fields) -> list[Part]:
    if (citations := block.object("citations")) is not None and citations.flag("enabled"):
        raise citations.wrong("enabled", "is not supported: models here give no citations")
    heading = "\n".join(text for name in ("title", "source") if (text := block.text(name)))
    return [text_part(heading), *(part for inner in _blocks(block, "content") for part in shown(inner))]


def _assistant(message: Fields) -> ChatMessage:
    """Converts text, thoughts and calls to one chat message."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in _blocks(message, "content"):
        kind = block.get("type")
        if kind == "text":
            texts.append(_text(block))
        elif kind == "thinking":
            thoughts.append(block.text("thinking") or unpack(block.text("signature") or "") or "")
        elif kind == "redacted_thinking":
            thoughts.append(unpack(block.text("data") or "") or "")
        elif kind == "tool_use":
            calls.append(_tool_use(block))
        else:
            raise block.wrong("type", _unknown(kind))
    chat: ChatMessage = PlacedObject({"role": "assistant", "content": "".join(texts)}, message.place)
    if thought := "".join(thoughts):
        chat["reasoning_content"] = thought
    if calls:
        chat["tool_calls"] = calls
    return chat


def _tool_use(block: Fields) -> dict[str, Any]:
    given = block.get("input")
    if given is not None and not isinstance(given, dict):
        raise wrong(block.where("input"), "must be an object")
    arguments = msgspec.json.encode(given or {}).decode()
    return call(block, block.needed_text("id"), block.needed_text("name"), arguments)
