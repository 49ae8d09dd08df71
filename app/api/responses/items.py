"""Converts items of `input` to chat messages. Pure. Raises InvalidBodyError with the item's place."""

from __future__ import annotations

from typing import Any

from app.api.translated.fields import Fields, said, wrong
from app.api.translated.media import (
    Part,
    audio_part,
    content_of,
    file_part,
    image_part,
    split_data_url,
    text_part,
    titled,
)
from app.api.translated.opaque import unpack
from app.api.translated.places import PlacedObject
from app.api.translated.tools import arguments_of, call, encode_json

ChatMessage = dict[str, Any]
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
CUSTOM_INPUT = "input"


class Conversation:
    """Collects items in order. A turn's thoughts, text and calls make one chat message."""

    def __init__(self) -> None:
        self.messages: list[ChatMessage] = []
        self._turn: ChatMessage | None = None
        # The thoughts of the turn, joined at its end
        self._thoughts: list[str] = []
        self._last_place = "input"

    def add(self, item: Fields) -> None:
        kind = item.text("type") or "message"
        self._last_place = item.place
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._think(item)
        elif kind == "function_call":
            self._call(item, called_name(item), arguments_of(item, "arguments"))
        elif kind == "custom_tool_call":
            self._call(item, called_name(item), encode_json({CUSTOM_INPUT: item.text("input") or ""}))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._output(item)
        else:
            raise item.wrong("type", f"is {kind}, which belongs to a tool or service that this gateway lacks")

    def finish(self) -> list[ChatMessage]:
        """Returns the messages. Raises InvalidBodyError if the last item is a thought without an answer."""
        turn = self._turn
        if turn is not None and self._thoughts and not turn["content"] and "tool_calls" not in turn:
            raise wrong(self._last_place, "is reasoning without an item after it")
        self._end_turn()
        return self.messages

    def _end_turn(self) -> None:
        if self._turn is not None:
            if self._thoughts:
                self._turn["reasoning_content"] = "".join(self._thoughts)
            self.messages.append(self._turn)
            self._turn, self._thoughts = None, []

    def _own_turn(self) -> ChatMessage:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": ""}
        return self._turn

    def _message(self, item: Fields) -> None:
        role = item.needed_one_of("role", _ROLES)
        parts = message_parts(item, "content")
        if role == "assistant":
            content = content_of(parts, between="")
            turn = self._own_turn()
            if turn["content"]:
                self._end_turn()
                turn = self._own_turn()
            turn["content"] = content
            return
        self._end_turn()
        self.messages.append(PlacedObject({"role": _ROLES[role], "content": content_of(parts)}, item.place))

    def _think(self, item: Fields) -> None:
        """Reads a thought from its content, else from this gateway's packed form, else from its summary."""
        text = "".join(part.text("text") or "" for part in item.objects("content"))
        text = text or unpack(item.text("encrypted_content") or "") or ""
        text = text or "\n\n".join(part.text("text") or "" for part in item.objects("summary"))
        if not text:
            return
        turn = self._own_turn()
        if turn["content"] or "tool_calls" in turn:
            self._end_turn()
            turn = self._own_turn()
        self._thoughts.append(text)

    def _call(self, item: Fields, name: str, arguments: str) -> None:
        self._own_turn().setdefault("tool_calls", []).append(call(item, item.needed_text("call_id"), name, arguments))

    def _output(self, item: Fields) -> None:
        self._end_turn()
        if item.get("output") is None:
            raise item.wrong("output", "is missing")
        content = content_of(message_parts(item, "output"))
        message = {"role": "tool", "tool_call_id": item.needed_text("call_id"), "content": content}
        self.messages.append(PlacedObject(message, item.place))


def called_name(item: Fields) -> str:
    """Returns the tool's name for the engine."""
    return full_name(item.needed_text("name"), item.text("namespace"))


def full_name(name: str, namespace: str | None) -> str:
    return f"{namespace}__{name}" if namespace else name


def message_parts(item: Fields, name: str) -> list[Part]:
    value = item.get(name)
    if isinstance(value, str):
        return [text_part(value)]
    if not isinstance(value, list):
        raise item.wrong(name, "must be text or a list of parts")
    return [PlacedObject(_part(part), part.place) for part in item.objects(name)]


def _part(part: Fields) -> Part:
    kind = part.text("type")
    if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
        if (text := part.text("text")) is None:
            raise part.wrong("text", "is missing")
        return text_part(text)
    if kind == "refusal":
        return text_part(part.text("refusal") or "")
    if kind == "input_image":
        if part.get("file_id") is not None:
            raise part.wrong("file_id", "is not supported: the gateway stores no files; send a data URL as image_url")
        url = part.get("image_url")
        if isinstance(url, dict):  # as chat completions have it
            url = url.get("url")
        if not isinstance(url, str) or not url:
            raise part.wrong("image_url", "is missing; it must be a data URL or another URL")
        return image_part(url, part.text("detail"))
    if kind == "input_audio":
        audio = part.needed_object("input_audio")
        return audio_part(audio.needed_text("data"), audio.text("format") or "wav")
    if kind == "input_file":
        return _file(part)
    raise part.wrong("type", f"{said(kind)}; it must be input_text, input_image, input_file or input_audio")


def _file(part: Fields) -> Part:
    for name in ("file_id", "file_url"):
        if part.get(name) is not None:
            raise part.wrong(name, "is not supported: the gateway neither stores nor fetches files; send file_data")
    data, title = part.needed_text("file_data"), part.text("filename")
    kind = ""
    if (split := split_data_url(data)) is not None:
        kind, data = split
    part_of_chat = file_part(part, "file_data", data, kind, None)
    if part_of_chat["type"] == "text":
        part_of_chat["text"] = titled(part_of_chat["text"], title)
    return part_of_chat
