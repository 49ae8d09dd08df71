"""Commands about API keys and their usage."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.completion import key_names
from app.cli.options import Config, print_json, print_note, settings_of
from app.terminal import say

commands = typer.Typer()
keys = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)
commands.add_typer(keys, name="keys")


@commands.command()
def usage(
    by: Annotated[str, typer.Option(metavar="COLUMNS", help="Group by some of key, alias and day.")] = "key,alias,day",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
) -> None:
    """Show usage by key, model and day (UTC).

    Counts requests, input, output, cached and drafted tokens, and seconds.
    """
    with settings_of(config) as settings:
        from app.cli.accounts import show_usage, usage_csv, usage_rows

        rows = usage_rows(settings, by)
        if as_json:
            print_json(rows)
        elif as_csv:
            print(usage_csv(rows).removesuffix("\n"))
        else:
            show_usage(rows)


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the key.")],
    models: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERNS",
            help='Models that the key may use, comma-separated, for example "unsloth/*" [default: all].',
        ),
    ] = None,
    rpm: Annotated[int | None, typer.Option(metavar="NUMBER", min=1, help="Maximum requests per minute.")] = None,
    tpm: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Maximum tokens per minute, input and output.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Maximum concurrent requests.")
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="Lifetime of the key: 90d, 12h, 1y, or never.")
    ] = "never",
    admin: Annotated[bool, typer.Option("--admin", help="Allow /admin as well.")] = False,
    config: Config = None,
) -> None:
    """Create an API key and print it.

    The key is printed once. A running gateway accepts it within a second.
    """
    with settings_of(config) as settings:
        from app.cli.accounts import create

        limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
        secret, notes = create(settings, name, models=models, **limits, expires=expires, admin=admin)
        print(secret)
        for note in notes:
            print_note(note)


@keys.command("list")
def keys_list(config: Config = None) -> None:
    """List API keys, without their secrets."""
    with settings_of(config) as settings:
        from app.cli.accounts import show_keys

        show_keys(settings)


@keys.command("revoke")
def keys_revoke(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the key in `keys list`.", autocompletion=key_names)
    ],
    config: Config = None,
) -> None:
    """Revoke an API key.

    A running gateway refuses it within a second.
    """
    with settings_of(config) as settings:
        from app.cli.accounts import revoke

        words = revoke(settings, name)
        say(f"Revoked {name}.")
        if words:
            print_note(words)
