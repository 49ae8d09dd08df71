"""Converts tools of a Responses request to chat tools, and their calls back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.api.responses.items import CUSTOM_INPUT, full_name
from app.api.translated.fields import Fields, said
from app.api.translated.tools import function_tool, only, refuse_other_callers

_CUSTOM_PARAMETERS = {
    "type": "object",
    "properties": {CUSTOM_INPUT: {"type": "string"}},
    "required": [CUSTOM_INPUT],
}


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool as the client defined it."""

    name: str
    custom: bool = False
    namespace: str | None = None


class RequestTools:
    """The tools of one request, by their names for the engine."""

    def __init__(self) -> None:
        self.chat_tools: list[dict[str, Any]] = []
        self._by_chat_name: dict[str, ClientTool] = {}

    def of_client(self, name: str) -> ClientTool:
        """Returns the client's tool by its name for the engine."""
        return self._by_chat_name.get(name) or ClientTool(name)

    def add(self, tool: Fields, namespace: str | None = None) -> None:
        """Adds a tool. Raises InvalidBodyError for one that would have to run here."""
        kind = tool.text("type")
        if kind is None:
            raise tool.wrong("type", "is missing; it must be function or custom")
        if kind == "namespace" and namespace is None:
            for inner in tool.objects("tools"):
                self.add(inner, tool.needed_text("name"))
            return
        if kind == "web_search" and tool.get("external_web_access") is False:
            return  # Codex sends it with every request. Without access to the web it is never called
        if kind not in ("function", "custom"):
            raise tool.wrong("type", f"is {kind}: hosted tools are not supported; define it as a function")
        tool.refuse({"async": "the model waits for the output of its calls"})
        refuse_other_callers(tool)
        name = tool.needed_text("name") if tool.get("function") is None else ""
        if kind == "custom":
            self._add(self._custom(tool, name, namespace), ClientTool(name, True, namespace))
            return
        # The nested form of chat completions, which some clients send
        inner = tool.object("function") or tool
        name = inner.needed_text("name")
        parameters = inner.object("parameters")
        chat = function_tool(inner, full_name(name, namespace), parameters.values if parameters else None)
        self._add(chat, ClientTool(name, False, namespace))

    def _add(self, chat: dict[str, Any], tool: ClientTool) -> None:
        self._by_chat_name[chat["function"]["name"]] = tool
        self.chat_tools.append(chat)

    def _custom(self, tool: Fields, name: str, namespace: str | None) -> dict[str, Any]:
        """Returns a custom tool as a function: the free text is its one parameter."""
        wanted = tool.object("format")
        if wanted is not None and wanted.text("type") not in (None, "text"):
            raise tool.wrong("format", "is not supported: the gateway enforces no format for the input of custom tools")
        return function_tool(tool, full_name(name, namespace), _CUSTOM_PARAMETERS)


def choose(fields: Fields, tools: RequestTools, body: dict[str, Any]) -> None:
    """Sets `tools` and `tool_choice`. Leaves out tools that may not be called."""
    choice = fields.get("tool_choice")
    if isinstance(choice, str):
        fields.one_of("tool_choice", ("none", "auto", "required"))
        if choice == "required" and not tools.chat_tools:
            raise fields.wrong("tool_choice", "is required, but the request has no tools")
        _set(body, tools.chat_tools, choice)
    elif choice is None:
        _set(body, tools.chat_tools, None)
    elif isinstance(choice, dict):
        _choose_by_name(Fields(choice, "tool_choice"), tools, body)
    else:
        raise fields.wrong("tool_choice", "must be none, auto, required or an object")


def _choose_by_name(choice: Fields, tools: RequestTools, body: dict[str, Any]) -> None:
    kind = choice.text("type")
    if kind in ("function", "custom"):
        inner = choice.object("function") or choice
        name = full_name(inner.needed_text("name"), choice.text("namespace"))
        _set(body, only(tools.chat_tools, [name], inner.where("name")), "required")
    elif kind == "allowed_tools":
        mode = choice.one_of("mode", ("auto", "required")) or "auto"
        names = [full_name(tool.needed_text("name"), tool.text("namespace")) for tool in choice.objects("tools")]
        if not names:
            raise choice.wrong("tools", "is empty; it must name the tools that may be called")
        _set(body, only(tools.chat_tools, names, choice.where("tools")), mode)
    else:
        raise choice.wrong("type", f"{said(kind)}; it must be function, custom or allowed_tools")


def _set(body: dict[str, Any], tools: list[dict[str, Any]], choice: str | None) -> None:
    if tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = choice
