"""Detects tools for a model whose chat template ignores them: llama-server drops them silently (b11434)."""

from __future__ import annotations

from app import logs
from app.errors import InvalidBodyError
from app.models.ref import ModelRef
from app.supervisor.engine_facts import EngineFacts

log = logs.get_logger("relay")


class ToolCheck:
    """Reads the template's abilities from a running engine. Builds that report none add tools to any template."""

    def __init__(self) -> None:
        # Names of the models that got tools in vain
        self._told: set[str] = set()

    def look(self, ref: ModelRef, facts: EngineFacts | None, *, must: bool) -> None:
        """Raises InvalidBodyError if the model must call a tool.

        Otherwise writes a warning to the log, once per model.
        """
        if facts is None or facts.tools is not False:
            self._told.discard(ref.name)
            return
        if must:
            message = (
                f"'tool_choice' requires a tool call, but the chat template of '{ref.name}' has no tools. Omit "
                "'tools', or set a template with tools in the model's entry (--chat-template-file in args)."
            )
            raise InvalidBodyError(message, param="tool_choice")
        if ref.name not in self._told:
            self._told.add(ref.name)
            log.warning(f"{self.warning(ref.name)} Set another template in its entry (--chat-template-file in args).")

    def warning(self, name: str) -> str | None:
        """Returns the warning for /v1/models, or None if the model has had no tools in vain."""
        if name not in self._told:
            return None
        return f"'{name}' got a request with tools, but its chat template has none, so the model does not see them."
