"""Commands about who may use the gateway, and who has used it."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.completion import key_names
from app.cli.options import Config, errors_in_words, tell
from app.terminal import say

commands = typer.Typer()
keys = typer.Typer(help="Who may use this gateway.", no_args_is_help=True)
commands.add_typer(keys, name="keys")


@commands.command()
def usage(
    by: Annotated[str, typer.Option(metavar="COLUMNS", help="Some of key, alias and day.")] = "key,alias,day",
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Sum up who used what: requests, tokens in and out, cached, drafted, seconds. Days are UTC's."""
    with errors_in_words():
        from app.cli.accounts import show_usage, usage_csv, used
        from app.config.settings import load_settings

        rows = used(load_settings(config), by)
        if as_csv or as_json:
            import json

            print(json.dumps(rows, indent=2) if as_json else usage_csv(rows).removesuffix("\n"))
        else:
            show_usage(rows)


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="What it is called in lists and figures.")],
    models: Annotated[
        str | None, typer.Option(help='Patterns of names, comma-separated, such as "unsloth/*" [default: all].')
    ] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(min=1, help="Tokens a minute, in and out.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once.")] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="From now: 90d, 12h, 1y, or never.")] = "never",
    admin: Annotated[bool, typer.Option("--admin", help="It may use /admin, too.")] = False,
    config: Config = None,
) -> None:
    """Make a key and print it, once; a running gateway takes it within a second."""
    with errors_in_words():
        from app.cli.accounts import create
        from app.config.settings import load_settings

        limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
        secret, notes = create(load_settings(config), name, models=models, **limits, expires=expires, admin=admin)
        print(secret)
        for note in notes:
            tell(note)


@keys.command("list")
def keys_list(config: Config = None) -> None:
    """Show the keys that there are, without their secrets."""
    with errors_in_words():
        from app.cli.accounts import show_keys
        from app.config.settings import load_settings

        show_keys(load_settings(config))


@keys.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `keys list` shows it.", autocompletion=key_names)],
    config: Config = None,
) -> None:
    """End a key; a running gateway refuses it within a second."""
    with errors_in_words():
        from app.cli.accounts import revoke
        from app.config.settings import load_settings

        words = revoke(load_settings(config), name)
        say(f"Revoked {name}.")
        if words:
            tell(words)
