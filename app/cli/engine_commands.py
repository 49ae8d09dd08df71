"""Commands that list and control the engines of a running gateway."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.completion import aliases
from app.cli.options import Alias, AsJson, Config, errors_in_words, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from app.cli.admin_client import AdminClient

commands = typer.Typer()


def client_of(config: Path | None) -> AdminClient:
    """Returns a client for the gateway of these settings. Raises ConfigError."""
    from app.cli.admin_client import admin_of_running
    from app.config.settings import load_settings, settings_file

    return admin_of_running(load_settings(config), settings_file(config))


@commands.command()
def ps(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C, with running requests.")] = False,
    config: Config = None,
) -> None:
    """List engines and their states."""
    if watch and as_json:
        raise typer.BadParameter("--watch prints no JSON: leave out --json, or poll GET /admin/engines")
    with errors_in_words(), client_of(config) as client:
        if watch:
            from app.cli.engines_watch import watch as watch_engines

            watch_engines(client)
            return
        engines = client.engines()
        if as_json:
            print_json(engines)
        else:
            from app.cli.engines_table import print_engines

            print_engines(engines)


@commands.command()
def load(alias: Alias, config: Config = None) -> None:
    """Load a model, and wait until it is ready.

    Idle engines are unloaded if it needs their place.
    """
    with errors_in_words(), client_of(config) as client:
        from app.cli.loading_line import LoadingLine

        try:
            with LoadingLine(client, alias, "waiting for a place"):
                engine = client.act(alias, "load", wait=1)
        except KeyboardInterrupt:
            print("\nllama-tandem: stopped watching; the load continues.", file=sys.stderr)
            raise typer.Exit(130) from None
        print(f"Loaded {engine['alias']} at port {engine['port']}, process {engine['pid']}.")


@commands.command()
def stop(
    aliases: Annotated[
        list[str] | None,
        typer.Argument(metavar="ALIAS", help="Names of models in tandem.yaml.", autocompletion=aliases),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop every engine.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Interrupt running requests.")] = False,
    config: Config = None,
) -> None:
    """Unload models after their running requests."""
    if bool(aliases) is everything:
        raise typer.BadParameter("name the models to stop, or --all")
    with errors_in_words(), client_of(config) as client:
        up = {engine["alias"] for engine in client.engines() if engine["state"] not in ("stopped", "fatal")}
        try:
            for name in aliases or sorted(up):
                alias = client.act(name, "unload", wait=1, now=int(now))["alias"]
                print(f"Stopped {alias}." if alias in up else f"{alias} is not loaded.")
        except KeyboardInterrupt:
            print("\nllama-tandem: stopped waiting; the engine stops after its last answer.", file=sys.stderr)
            raise typer.Exit(130) from None
        if everything and not up:
            print("No engine is loaded.")


@commands.command()
def pin(alias: Alias, config: Config = None) -> None:
    """Keep a model loaded.

    Neither its ttl nor another model unloads it, until the gateway ends or `unpin`.
    """
    with errors_in_words(), client_of(config) as client:
        engine = client.act(alias, "pin")
        print(f"Pinned {engine['alias']} until the gateway stops; it is {engine['state']}.")


@commands.command()
def unpin(alias: Alias, config: Config = None) -> None:
    """Allow a model to be unloaded again."""
    with errors_in_words(), client_of(config) as client:
        print(f"Unpinned {client.act(alias, 'unpin')['alias']}.")


@commands.command()
def reset(alias: Alias, config: Config = None) -> None:
    """Forget the failed starts of a model.

    The next request starts it again.
    """
    with errors_in_words(), client_of(config) as client:
        engine = client.act(alias, "reset")
        print(f"Reset {engine['alias']}: it is {engine['state']}, and the next request starts it.")
