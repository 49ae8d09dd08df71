"""`run`: from a name to a chat. It pulls missing files, starts a gateway if none runs, and loads the model."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.ephemeral_model import EphemeralModel
from app.cli.own_gateway import OwnGateway
from app.cli.run_target import RunTarget, resolve
from app.cli.user_input import Outcome, question
from app.config.model_entry import LocalEntry
from app.config.settings import Settings, load_settings, root_url, settings_file
from app.config.speculation import PLAIN
from app.errors import StoreError, TandemError, UpstreamError
from app.models.catalog import Catalog
from app.terminal import is_terminal, say

# The gateway's clients are imported while it starts
if TYPE_CHECKING:
    from app.cli.admin_client import AdminClient
    from app.cli.chat_client import ChatClient
    from app.server.prepared import PreparedGateway

# Between two looks at a model that starts
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.03, 0.25


def run(
    settings: Settings,
    config: Path | None,
    name: str | None,
    prompt: str | None = None,
    *,
    draft: str | None = None,
    keep: bool = False,
    save: bool = False,
    system: str | None = None,
    wishes: dict[str, Any] | None = None,
    thoughts: bool = True,
    history: Path | None = None,
    prepared: PreparedGateway | None = None,
) -> Outcome:
    """Returns when the chat ends, and ends its own gateway unless `keep`. Raises TandemError."""
    if prompt is not None or not is_terminal(sys.stdin):
        # Before any download: an empty question fails at once
        prompt = question(prompt)
    target = resolve(settings, config, name)
    if draft is not None:
        target = _with_draft(settings, config, target, draft)
    if save and target.entry is not None:
        from app.cli.add_entry import add_entries

        file = settings_file(config)
        add_entries(file, {target.alias: target.entry})
        say(f"Added '{target.alias}' to {file}.", sys.stderr)
    with ExitStack() as stack:
        client, settings = _gateway(stack, settings, config, target, keep=keep, prepared=prepared)
        from app.cli.chat import talk
        from app.cli.conversation import ChatConversation

        _load(settings, client, target.alias)
        conversation = ChatConversation(client, target.alias, system=system, wishes=wishes)
        conversation.thoughts = thoughts
        if prompt is None and is_terminal(sys.stdin) and (line := _draft_hint(settings, target)):
            say(line)
        return talk(conversation, prompt, history=history)


def _gateway(
    stack: ExitStack,
    settings: Settings,
    config: Path | None,
    target: RunTarget,
    *,
    keep: bool,
    prepared: PreparedGateway | None,
) -> tuple[ChatClient, Settings]:
    """Yields a client of a gateway with the model, running or started here, and the settings with its port."""
    url, remedy = root_url(settings.host, settings.port), ""
    guest = stack.enter_context(EphemeralModel(settings, target, keep=keep))
    if guest.is_served:
        if prepared is not None:
            prepared.close()
        if keep and guest.was_added:
            say(f"{target.alias} stays loaded in the running gateway, {url}, until that stops.", sys.stderr)
    else:
        gateway = stack.enter_context(OwnGateway(settings, config, _entries(target), keep=keep, prepared=prepared))
        gateway.wait_until_up()
        url, settings = gateway.url, settings.model_copy(update={"port": gateway.port})
        remedy = f"Its log is {gateway.log}. /save FILE saves the conversation; run the command again to continue."
        if keep:
            say(f"The gateway stays at {url}: process {gateway.pid}, log {gateway.log}.", sys.stderr)
    from app.auth.local_admin_key import local_secret
    from app.cli.chat_client import START_ONE, ChatClient

    return stack.enter_context(ChatClient(url, local_secret(settings.state_dir), remedy=remedy or START_ONE)), settings


def _entries(target: RunTarget) -> dict[str, Any]:
    return {} if target.entry is None else {target.alias: target.entry}


def _load(settings: Settings, client: ChatClient, alias: str) -> None:
    """Loads the model and shows progress. Raises UpstreamError with the diagnosis of a failed start."""
    from app.cli.admin_client import admin_of
    from app.cli.loading_line import LoadingLine

    with LoadingLine(client, alias, "waiting for a place"):
        if _settled(client, alias) in ("ready", "attached"):
            return
    with admin_of(settings) as admin:
        try:
            with LoadingLine(client, alias, "waiting for a place"):
                admin.act(alias, "load", wait=1)
        except UpstreamError as error:
            # The gateway may end with this command, and its log with it
            raise UpstreamError("\n".join((str(error), *_last_words(admin, alias)))) from None


def _settled(client: ChatClient, alias: str) -> str:
    """Returns the model's state, after a start that the gateway has begun by itself.

    The admin API would wait as well, but a gateway imports it in a quarter of a second, while the engine loads.
    """
    began = time.monotonic()
    while (state := str(client.row(alias).get("state"))) == "starting":
        time.sleep(min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S + (time.monotonic() - began) / 40))
    return state


def _last_words(admin: AdminClient, alias: str) -> list[str]:
    """Returns the last lines of a failed engine's log, indented."""
    with suppress(TandemError):
        for engine in admin.engines():
            if engine["alias"] == alias and (diagnosis := engine.get("diagnosis")):
                return [f"    | {line}" for line in diagnosis["log_tail"]]
    return []


def _with_draft(settings: Settings, config: Path | None, target: RunTarget, name: str) -> RunTarget:
    """Returns the target's entry with a draft, under a new name if the settings have the target."""
    draft = resolve(settings, config, name)
    entry = target.entry or _written(settings, target.alias)
    part = (draft.entry or _written(settings, draft.alias))["target"]
    alias = target.alias if target.entry is not None else f"{target.alias}+draft"
    return RunTarget(alias, {**entry, "draft": part})


# The keys of an entry that a draft does not affect
_KEPT_KEYS = {"target", "mmproj", "ctx_size", "parallel", "device", "threads", "fit", "jinja", "temp", "top_p", "args"}


def _written(settings: Settings, alias: str) -> dict[str, Any]:
    entry = Catalog(settings).resolve(alias).entry
    if not isinstance(entry, LocalEntry):
        raise StoreError(f"'{alias}' is an attached server: it has no local files and takes no draft.")
    fields = entry.model_dump(mode="json", exclude_unset=True, include=_KEPT_KEYS)
    return {key: value for key, value in fields.items() if value is not None}


def _draft_hint(settings: Settings, target: RunTarget) -> str:
    """Returns a line about a matching local draft, for a model without one."""
    known = target.entry or {}
    if target.entry is None:
        entry = Catalog(settings).resolve(target.alias).entry
        known = {"draft": entry.draft} if isinstance(entry, LocalEntry) and entry.chain == PLAIN else {"draft": True}
    if known.get("draft"):
        return ""
    from app.cli.draft_hint import draft_for

    name = draft_for(load_with(settings, target), target.alias)
    return f"{name} could draft for it: llama-tandem run {target.alias} --draft {name}" if name else ""


def load_with(settings: Settings, target: RunTarget) -> Settings:
    """Returns the settings with the target's entry among the models."""
    if target.entry is None:
        return settings
    extra = load_settings(None, models={target.alias: target.entry}).models
    return settings.model_copy(update={"models": {**settings.models, **extra}})
