"""`pull`, as the command line has it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from app.catalog import Catalog
from app.config import Settings, settings_file
from app.errors import StoreError
from app.store.names import parse_hub_name
from app.store.progress import Emit, Event
from app.store.pull import Puller, Wanted, wanted_of
from app.store.written import add_entry, entry_text, include_of, with_entry


def wanted_by(settings: Settings, names: Iterable[str], include: str | None) -> list[Wanted]:
    """What aliases and `hf:` names stand for; raises UnknownAlias or StoreError."""
    catalog, found = Catalog(settings), []
    for name in names:
        if name.startswith("hf:"):
            hub_name = parse_hub_name(name)
            if include is not None and hub_name.quantization is not None:
                raise StoreError(f"{name} names a quantization already; leave out --include.")
            found.append(Wanted(hub_name.repo, include, hub_name.quantization))
        elif include is not None:
            raise StoreError(f"--include goes with hf:..., and '{name}' is an alias, which has its own.")
        else:
            found += wanted_of(catalog.canonical(name), catalog.entry(name))
    # A draft may be the target of another alias
    return list(dict.fromkeys(found))


def pull(
    settings: Settings,
    config: Path | None,
    names: list[str],
    emit: Emit,
    *,
    include: str | None = None,
    add: str | None = None,
    update: bool = False,
) -> list[Path]:
    """Fetches everything that `names` need, and tells the entry for a name of the Hub; raises TandemError."""
    wanted = wanted_by(settings, names, include)
    if add is not None and not (len(names) == 1 and names[0].startswith("hf:")):
        raise StoreError("--add goes with one hf:... name.")
    if add is not None:
        with_entry(settings_file(config), add, wanted[0], include or "*")  # nobody should hear of it after 135 GB
    from app.store.hub import Hub  # late: names alone need no huggingface_hub

    hub = Hub(say=lambda text: emit(Event("note", "", text=text)))
    puller = Puller(settings, hub, emit)
    files = puller.pull(wanted, update=update)
    if not all(name.startswith("hf:") for name in names):
        return files
    for one in wanted:
        folder = settings.models_dir / one.repo
        paths = [path.relative_to(folder).as_posix() for path in files if path.is_relative_to(folder)]
        pattern = include_of(one, paths)
        if add is not None:
            file = settings_file(config)
            add_entry(file, add, one, pattern)
            emit(Event("note", one.repo, text=f"{file}: '{add}' is added"))
        else:
            alias = one.repo.removesuffix("-GGUF")
            emit(Event("note", one.repo, text=f"models:\n{entry_text(alias, one, pattern)}"))
    return files
