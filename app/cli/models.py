"""Commands about models on the Hub and on disk."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.completion import model_names
from app.cli.options import AsJson, Config, print_json, settings_of

commands = typer.Typer()
_ON_DISK = "Aliases or ORG/REPO[:QUANTIZATION]."


@commands.command()
def pull(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help=_ON_DISK, autocompletion=model_names),
    ],
    include: Annotated[str | None, typer.Option(metavar="PATTERN", help="Pattern of file names in ORG/REPO.")] = None,
    add: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="Add an entry with this name to tandem.yaml.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Replace files that have changed on the Hub.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Download models, resuming partial downloads.

    Every file is compared with the checksum of the Hub.
    """
    with settings_of(config) as settings:
        from app.cli.progress import shown
        from app.cli.pull import entry_note, print_next_step
        from app.cli.pull import pull as run
        from app.config.settings import load_settings
        from app.pulls.worker import warn

        try:
            with shown(as_json) as emit:
                pulled = run(settings, config, names, emit, include=include, add=add, update=update)
                warn(settings, pulled.files, emit)
                for entry in pulled.entries if as_json else ():
                    emit(entry_note(entry))
            if not as_json:
                print_next_step(load_settings(config) if add else settings, config, names, pulled)
        except KeyboardInterrupt:
            print("llama-tandem: stopped; pull again to resume.", file=sys.stderr)
            raise typer.Exit(130) from None


@commands.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Part of a repository name.")],
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=100, help="Maximum number of results.")] = 20,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Search the Hub for GGUF repositories.

    Lists the most downloaded repositories first.
    """
    with settings_of(config):
        from app.cli.hub_models import show_found
        from app.models.hub.client import Hub

        repos = Hub(say=_say).search(text, limit)
        if as_json:
            print_json([asdict(repo) for repo in repos])
        else:
            show_found(repos, text)


@commands.command()
def show(
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="hf:ORG/REPO, ORG/REPO, or an alias.", autocompletion=model_names)
    ],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show the quantizations of a repository.

    Lists size and shards, and whether each quantization fits this machine.
    """
    with settings_of(config) as settings:
        from app.cli.hub_models import page_fields, planned_starts, read_page, show_page
        from app.models.hub.client import Hub

        page = read_page(settings, repo, Hub(say=_say))
        starts = planned_starts(settings, page.repo)
        if as_json:
            print_json(page_fields(page, starts))
        else:
            show_page(page, settings.models_dir, starts)


@commands.command("list", hidden=True)
@commands.command()
def ls(as_json: AsJson = False, config: Config = None) -> None:
    """List downloaded models."""
    with settings_of(config) as settings:
        from app.cli.local_models import LocalModels

        shelf = LocalModels(settings)
        if as_json:
            print_json(shelf.fields())
        else:
            shelf.show()


@commands.command()
def rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help=_ON_DISK, autocompletion=model_names)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    shared: Annotated[bool, typer.Option("--shared", help="Also delete files used by other aliases.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Delete models that are not in use.

    Also deletes partial downloads.
    """
    with settings_of(config) as settings:
        from app.cli.local_models import LocalModels, kept_fields, question, removed_in_words
        from app.models.disk.remove import remove

        doomed = LocalModels(settings).removable(names, shared=shared)
        if not yes:
            for line in question(doomed):
                _say(line)
            typer.confirm("Delete?", abort=True, err=True)
        gone = []
        try:
            for model in doomed:
                gone.append(remove(model))
                if not as_json:
                    print(removed_in_words(gone[-1]))
        finally:
            if as_json:
                print_json([kept_fields(removed.model) | {"freed": removed.freed} for removed in gone])


@commands.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"{_ON_DISK} [default: all]", autocompletion=model_names)
    ] = None,
    no_repair: Annotated[
        bool, typer.Option("--no-repair", help="Report damaged files without downloading them.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Verify checksums and repair damaged files.

    Exits with 1 if any file is still damaged.
    """
    with settings_of(config) as settings:
        from app.cli.local_models import LocalModels, verdicts_in_words
        from app.cli.progress import shown
        from app.models.download.events import CHECKED

        shelf = LocalModels(settings)
        try:
            with shown(as_json, counted=CHECKED) as emit:
                checked = shelf.verify(names or (), emit, repair=not no_repair)
        except KeyboardInterrupt:
            _say("llama-tandem: stopped.")
            raise typer.Exit(130) from None
        if not as_json:
            print(verdicts_in_words(checked))
    if any(file.verdict == "bad" for file in checked):
        raise typer.Exit(1)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
