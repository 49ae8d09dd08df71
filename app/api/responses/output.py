"""Items of a response's `output`, and the events of their growth. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from app.api.responses.tools import ClientTool
from app.api.translated.opaque import pack

SendEvent = Callable[[str, dict[str, Any]], None]


class OutputItem(ABC):
    """An item that is opened once and closed once. `send_event` takes an event's name and fields."""

    def __init__(self) -> None:
        self.item_id = ""
        self._index = 0
        self._send_event: SendEvent
        self._status = "in_progress"

    def open(self, item_id: str, index: int, send_event: SendEvent) -> None:
        self.item_id, self._index, self._send_event = item_id, index, send_event
        send_event("response.output_item.added", {"output_index": index, "item": self.body()})
        self.opened()

    def close(self, *, cut: bool) -> None:
        """Closes the item. `cut`: at the token limit."""
        self.finish()
        self._status = "incomplete" if cut else "completed"
        self._send_event("response.output_item.done", {"output_index": self._index, "item": self.body()})

    def cut(self) -> None:
        """Ends an interrupted item without further events."""
        self._status = "incomplete"

    def opened(self) -> None:  # noqa: B027 - not every item has any
        """Sends the events right after `output_item.added`."""

    @abstractmethod
    def finish(self) -> None:
        """Sends the events before `output_item.done`."""

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """Returns the item in its current state."""

    def event(self, name: str, /, **fields: Any) -> None:
        self._send_event(name, {"item_id": self.item_id, "output_index": self._index, **fields})


class MessageItem(OutputItem):
    """A message: text, a refusal, or both in turn."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._probabilities: list[dict[str, Any]] = []
        self._refusal: bool | None = None

    def open_part(self, *, refusal: bool) -> None:
        if self._refusal is refusal:
            return
        self.finish()
        self._refusal = refusal
        self.event("response.content_part.added", content_index=len(self._parts), part=self._part())

    def add(self, text: str, probabilities: list[dict[str, Any]] | None) -> None:
        self._pieces.append(text)
        index = len(self._parts)
        if self._refusal:
            self.event("response.refusal.delta", content_index=index, delta=text)
        else:
            self._probabilities += probabilities or ()
            self.event("response.output_text.delta", content_index=index, delta=text, logprobs=probabilities or [])

    def finish(self) -> None:
        if self._refusal is None:
            return
        part, index = self._part(), len(self._parts)
        if self._refusal:
            self.event("response.refusal.done", content_index=index, refusal=part["refusal"])
        else:
            more = {"text": part["text"], "logprobs": part["logprobs"]}
            self.event("response.output_text.done", content_index=index, **more)
        self.event("response.content_part.done", content_index=index, part=part)
        self._parts.append(part)
        self._pieces, self._probabilities, self._refusal = [], [], None

    def _part(self) -> dict[str, Any]:
        text = "".join(self._pieces)
        if self._refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(self._probabilities)}

    def body(self) -> dict[str, Any]:
        content = [*self._parts, *([] if self._refusal is None else [self._part()])]
        if self._status == "in_progress":
            content = list(self._parts)
        head = {"id": self.item_id, "type": "message", "status": self._status, "role": "assistant"}
        return head | {"content": content}


class ReasoningItem(OutputItem):
    """Thoughts: as their own summary if the client requests one, else as content."""

    def __init__(self, *, summarizes: bool, packs: bool) -> None:
        super().__init__()
        self._summarizes = summarizes
        self._packs = packs
        self._pieces: list[str] = []
        self._whole = False

    def opened(self) -> None:
        if self._summarizes:
            part = {"type": "summary_text", "text": ""}
            self.event("response.reasoning_summary_part.added", summary_index=0, part=part)
        else:
            part = {"type": "reasoning_text", "text": ""}
            self.event("response.content_part.added", content_index=0, part=part)

    def add(self, text: str) -> None:
        self._pieces.append(text)
        if self._summarizes:
            self.event("response.reasoning_summary_text.delta", summary_index=0, delta=text)
        else:
            self.event("response.reasoning_text.delta", content_index=0, delta=text)

    def finish(self) -> None:
        text, self._whole = "".join(self._pieces), True
        if self._summarizes:
            self.event("response.reasoning_summary_text.done", summary_index=0, text=text)
            part = {"type": "summary_text", "text": text}
            self.event("response.reasoning_summary_part.done", summary_index=0, part=part)
        else:
            self.event("response.reasoning_text.done", content_index=0, text=text)
            part = {"type": "reasoning_text", "text": text}
            self.event("response.content_part.done", content_index=0, part=part)

    def cut(self) -> None:
        super().cut()
        self._whole = True

    def body(self) -> dict[str, Any]:
        text = "".join(self._pieces)
        item: dict[str, Any] = {"id": self.item_id, "type": "reasoning", "summary": [], "status": self._status}
        if self._whole and self._summarizes:
            item["summary"] = [{"type": "summary_text", "text": text}]
        elif not self._summarizes:
            item["content"] = [{"type": "reasoning_text", "text": text}] if self._whole else []
        if self._packs:
            item["encrypted_content"] = pack(text) if self._whole else ""
        return item


class CallItem(OutputItem):
    """A call of a function, or of a custom tool, whose input is sent when it is complete."""

    def __init__(self, call_id: str, tool: ClientTool) -> None:
        super().__init__()
        self.tool = tool
        self._call_id = call_id
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        if self.tool.custom:
            return
        self._pieces.append(text)
        self.event("response.function_call_arguments.delta", delta=text)

    def set_input(self, text: str) -> None:
        """Sets the input of a custom tool."""
        self._pieces = [text]
        self.event("response.custom_tool_call_input.delta", delta=text)

    def finish(self) -> None:
        text = "".join(self._pieces)
        if self.tool.custom:
            self.event("response.custom_tool_call_input.done", input=text)
        else:
            self.event("response.function_call_arguments.done", name=self.tool.name, arguments=text)

    def body(self) -> dict[str, Any]:
        kind, field = ("custom_tool_call", "input") if self.tool.custom else ("function_call", "arguments")
        item = {"id": self.item_id, "type": kind, "status": self._status}
        item |= {"call_id": self._call_id, "name": self.tool.name, field: "".join(self._pieces)}
        return item if self.tool.namespace is None else item | {"namespace": self.tool.namespace}
