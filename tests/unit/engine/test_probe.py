"""The cache of help pages: what may vanish, rot or be unwritable."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from app.engine import probe
from app.engine.locate import EngineBinary
from app.engine.probe import Prober
from app.errors import ProbeError
from tests.support.paths import DATA

PAGE = (DATA / "help" / "b11434.txt").read_text(encoding="utf-8")


class HelpPage:
    """Stands where `--help` is run, and counts."""

    def __init__(self, page: str = PAGE) -> None:
        self.page = page
        self.times = 0

    def __call__(self, engine: EngineBinary, running: object) -> str:
        self.times += 1
        return self.page


@pytest.fixture
def help_page(monkeypatch: pytest.MonkeyPatch) -> HelpPage:
    help_page = HelpPage()
    monkeypatch.setattr(probe, "help_page", help_page)
    return help_page


@pytest.fixture
def engine(tmp_path: Path) -> EngineBinary:
    binary = tmp_path / "llama-server"
    binary.write_bytes(b"one")
    return EngineBinary((str(binary),), (binary,), "llama-server on PATH")


def test_a_binary_is_asked_once(tmp_path: Path, engine: EngineBinary, help_page: HelpPage) -> None:
    """In memory first, then in the cache of an earlier run; the loop's way and the command line's share it."""
    first = Prober(tmp_path / "cache")
    assert first.dialect_now(engine) == first.dialect_now(engine)
    assert asyncio.run(Prober(tmp_path / "cache").dialect(engine)) == first.dialect_now(engine)
    assert help_page.times == 1


def test_another_build_at_the_same_path_is_asked_again(
    tmp_path: Path, engine: EngineBinary, help_page: HelpPage
) -> None:
    """Size and mtime are part of what is remembered."""
    prober = Prober(tmp_path / "cache")
    prober.dialect_now(engine)
    engine.files[0].write_bytes(b"another")
    prober.dialect_now(engine)
    assert help_page.times == 2


def test_a_rotten_cache_is_ignored_and_mended(tmp_path: Path, engine: EngineBinary, help_page: HelpPage) -> None:
    """Half a page, binary noise: the binary is asked, and the page written anew."""
    cache = tmp_path / "cache"
    Prober(cache).dialect_now(engine)
    for file in (path for path in cache.rglob("*") if path.is_file()):
        file.write_bytes(b"\xff\xfe half a page")
    Prober(cache).dialect_now(engine)
    Prober(cache).dialect_now(engine)
    assert help_page.times == 2


def test_an_unwritable_cache_costs_time_only(tmp_path: Path, engine: EngineBinary, help_page: HelpPage) -> None:
    """Here a file stands where the folder should be."""
    (tmp_path / "cache").write_text("")
    Prober(tmp_path / "cache").dialect_now(engine)
    assert help_page.times == 1


def test_a_page_that_is_no_llama_servers_names_the_engine(
    tmp_path: Path, engine: EngineBinary, help_page: HelpPage
) -> None:
    """And is not remembered."""
    help_page.page = "usage: something else"
    prober = Prober(tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(ProbeError, match="llama-server on PATH"):
            prober.dialect_now(engine)
    assert help_page.times == 2


def ran(monkeypatch: pytest.MonkeyPatch, returncode: int, stderr: bytes = b"") -> None:
    done = subprocess.CompletedProcess[bytes]([], returncode, b"", stderr)
    monkeypatch.setattr(probe, "run_to_its_end", lambda *args, **kwargs: done)


@pytest.mark.parametrize(
    ("returncode", "stderr", "words"),
    [
        (-4, b"", "illegal instruction"),
        (-11, b"", "SIGSEGV"),
        (127, b"llama-server: error while loading shared libraries: libcuda.so.1: cannot open", "libcuda.so.1"),
        (5, b"", "exit code 5"),
    ],
)
def test_a_failed_probe_says_why(
    monkeypatch: pytest.MonkeyPatch, engine: EngineBinary, returncode: int, stderr: bytes, words: str
) -> None:
    """In words for a person, with the loader's line where there is one."""
    ran(monkeypatch, returncode, stderr)
    with pytest.raises(ProbeError, match=words):
        probe.help_page(engine, probe.RunningProbes())


def test_a_probe_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, engine: EngineBinary) -> None:
    """A program that waits for input is no llama-server."""

    def hang(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("llama-server", 20)

    monkeypatch.setattr(probe, "run_to_its_end", hang)
    with pytest.raises(ProbeError, match="20 s"):
        probe.help_page(engine, probe.RunningProbes())


def test_a_binary_that_vanished_is_a_failed_probe(tmp_path: Path, engine: EngineBinary, help_page: HelpPage) -> None:
    """It may be removed at any moment, between two probes as well."""
    prober = Prober(tmp_path / "cache")
    prober.dialect_now(engine)
    engine.files[0].unlink()
    with pytest.raises(ProbeError, match="cannot be read"):
        asyncio.run(prober.dialect(engine))


def test_a_nameless_signal_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch, engine: EngineBinary) -> None:
    """Most real-time signals have no name in Python."""
    ran(monkeypatch, -40)
    with pytest.raises(ProbeError, match="signal 40"):
        probe.help_page(engine, probe.RunningProbes())
