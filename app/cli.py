"""The command line: thin. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.main import Gateway

cli = typer.Typer(
    name="llama-tandem",
    help="An OpenAI-compatible gateway in front of llama.cpp's llama-server, with or without a draft model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The settings [default: $TANDEM_CONFIG, else ./tandem.yaml]."),
]
keys = typer.Typer(help="Who may use this gateway.", no_args_is_help=True)
cli.add_typer(keys, name="keys")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="A model's name in tandem.yaml.")]


@contextmanager
def _errors_in_words(code: int = 1) -> Iterator[None]:
    """No traceback reaches a user: what is wrong, on stderr, and an exit code."""
    from app.errors import TandemError

    try:
        yield
    except TandemError as error:
        for line in str(error).splitlines():
            print(f"llama-tandem: {line}", file=sys.stderr)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        # `llama-tandem plan x | head -1`: nobody reads on, and the interpreter must not try to flush either
        sys.stdout = None
        raise typer.Exit(1) from None


def _print_version(asked: bool) -> None:
    if asked:
        from app import version

        print(f"llama-tandem {version()}")
        raise typer.Exit


@cli.callback()
def _global(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [default: 8000].")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask nobody for a key, not even on a network.")] = False,
    config: Config = None,
) -> None:
    """Run the gateway; engines are started when they are asked for."""
    with _errors_in_words():
        from app.banner import no_models
        from app.config import load_settings

        settings = load_settings(config, host=host, port=port, no_auth=no_auth or None)
        if not settings.models:
            raise no_models()
        from app.serve import serve as run

        run(settings, _announce)


def _announce(gateway: Gateway, url: str) -> None:
    from app.banner import greet

    greet(gateway, url)


@cli.command()
def plan(alias: Alias, config: Config = None) -> None:
    """Print the exact llama-server command line for ALIAS; what was translated goes to stderr."""
    with _errors_in_words():
        from app.config import load_settings
        from app.inspect import plan_now

        launch = plan_now(load_settings(config), alias)
        print(launch.shell_line())
        for note in launch.notes:
            print(f"{note.key}: {note.text}", file=sys.stderr)


@cli.command()
def check(
    alias: Annotated[str | None, typer.Argument(metavar="[ALIAS]", help="Only this model.")] = None,
    config: Config = None,
) -> None:
    """Say whether each model can start: engine, files, translations, last failure."""
    with _errors_in_words():
        from app.config import load_settings
        from app.inspect import inspect

        fine = True
        for report in inspect(load_settings(config), alias):
            print("\n".join(report.lines))
            fine &= report.fine
    if not fine:
        raise typer.Exit(1)


@cli.command()
def stats(
    alias: Annotated[str | None, typer.Argument(metavar="[ALIAS]", help="Only this model.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: seconds become ms, nothing is rounded.")
    ] = False,
    config: Config = None,
) -> None:
    """Compare each model's modes by what its requests took: acceptance, time per token, goodput."""
    with _errors_in_words():
        from app.config import load_settings
        from app.stats import as_text, stats_now, tables

        reports = stats_now(load_settings(config), alias)
        if as_json:
            print(as_text(reports))
        else:
            tables(reports)


@cli.command()
def usage(
    by: Annotated[str, typer.Option(metavar="COLUMNS", help="Some of key, alias and day.")] = "key,alias,day",
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Config = None,
) -> None:
    """Sum up who used what: requests, tokens in and out, cached, drafted, seconds. Days are UTC's."""
    with _errors_in_words():
        from app.accounts import show_usage, usage_csv, used
        from app.config import load_settings

        rows = used(load_settings(config), by)
        if as_csv or as_json:
            import json

            print(json.dumps(rows, indent=2) if as_json else usage_csv(rows).removesuffix("\n"))
        else:
            show_usage(rows)


@cli.command()
def chat(
    alias: Alias,
    url: Annotated[str | None, typer.Option(help="The gateway's root [default: from the settings].")] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds an API key [default: this machine's own].")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    config: Config = None,
) -> None:
    """Chat with ALIAS in the terminal, through a running gateway."""
    with _errors_in_words():
        from app.access.local import local_secret
        from app.chat import chat as converse
        from app.chat import read_key
        from app.config import load_settings, root_url

        # The key of this machine goes to no address that somebody merely names.
        key = read_key(key_file) if key_file else None
        if url is None:
            settings = load_settings(config)
            url = root_url(settings.host, settings.port)
            key = key or local_secret(settings.state_dir)
        converse(url.rstrip("/").removesuffix("/v1"), alias, system, key)


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
    with _errors_in_words():
        from app.accounts import create
        from app.config import load_settings

        limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
        secret, notes = create(load_settings(config), name, models=models, **limits, expires=expires, admin=admin)
        print(secret)
        for note in notes:
            print(note, file=sys.stderr)


@keys.command("list")
def keys_list(config: Config = None) -> None:
    """Show the keys that there are, without their secrets."""
    with _errors_in_words():
        from app.accounts import show_keys
        from app.config import load_settings

        show_keys(load_settings(config))


@keys.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `keys list` shows it.")], config: Config = None
) -> None:
    """End a key; a running gateway refuses it within a second."""
    with _errors_in_words():
        from app.accounts import revoke
        from app.config import load_settings

        revoke(load_settings(config), name)
        print(f"Revoked {name}.")


@cli.command()
def tune(
    alias: Alias,
    modes: Annotated[
        str | None, typer.Option(metavar="MODE,...", help="Only these speculation modes, beside plain decoding.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own prompts, one a line or paragraph.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long it may take.")] = 10,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the chart goes [default: ./tune-ALIAS.svg].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    config: Config = None,
) -> None:
    """Measure which way of decoding gives ALIAS most tokens per second; Ctrl-C keeps what is known."""
    with _errors_in_words():
        from app.config import load_settings
        from app.tuning.command import Options
        from app.tuning.command import tune as measure

        only = tuple(mode.strip() for mode in modes.split(",") if mode.strip()) if modes is not None else None
        code = measure(load_settings(config), alias, Options(only, prompts, minutes, chart, as_json))
    if code:
        raise typer.Exit(code)


@cli.command()
def init(config: Config = None) -> None:
    """Write a commented tandem.yaml."""
    with _errors_in_words():
        from app.banner import write_example

        path = write_example(config or Path("tandem.yaml"))
        print(f"Wrote {path}. Next: llama-tandem check, then llama-tandem serve.")


# Without interspersed options the flags of the line need no `--` before them.
@cli.command("import", context_settings={"allow_interspersed_args": False})
def import_(
    words: Annotated[
        list[str], typer.Argument(metavar="LINE", help="Such as: ./llama-server --model tiny.gguf -c 4096")
    ],
    config: Config = None,
) -> None:
    """Print a tandem.yaml for a command line of llama.cpp; what its flags became goes to stderr."""
    with _errors_in_words(2):
        from app.importing.entry import import_line
        from app.inspect import dialect_at_hand

        imported = import_line(words, dialect_at_hand(config))
        for note in imported.notes:
            print(f"{note.key}: {note.text}", file=sys.stderr)
        print(imported.yaml, end="", flush=True)


@cli.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Aliases, or hf:ORG/REPO[:QUANTIZATION].")],
    include: Annotated[str | None, typer.Option(metavar="PATTERN", help="Which files of hf:ORG/REPO.")] = None,
    add: Annotated[str | None, typer.Option(metavar="ALIAS", help="Write the entry into the settings file.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Replace what has changed on the Hub.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Download models, and go on where an earlier pull stopped; every byte is checked."""
    with _errors_in_words():
        from app.config import load_settings

        settings = load_settings(config)
        from app.store.commands import pull as run
        from app.store.show import shown

        try:
            with shown(as_json) as emit:
                run(settings, config, names, emit, include=include, add=add, update=update)
        except KeyboardInterrupt:
            print("llama-tandem: stopped; pull again to go on from here.", file=sys.stderr)
            raise typer.Exit(130) from None


def main() -> None:
    """The console script."""
    cli()
