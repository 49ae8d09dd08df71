"""The process that `run` starts before its own imports: it becomes a gateway by an order, or ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from app.cli.own_gateway import OwnGateway
from app.config.settings import load_settings
from app.errors import UpstreamError
from app.server.prepared import PreparedGateway, prepared_for_run
from tests.support.gateway import PATIENCE_S, eventually
from tests.support.paths import ROOT
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def port() -> Iterator[int]:
    yield free_port()


def _children() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "serve" in process.cmdline()]


def test_it_becomes_what_it_is_ordered_to_be(tmp_path: Path, port: int) -> None:
    """With the command line, environment and log of the order, in its own session."""
    Path("other.yaml").write_text("models: {m: {url: 'http://127.0.0.1:9'}}\n")
    log = tmp_path / "log"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TANDEM_LIST_ALIASES": "maybe"}
    with closing(PreparedGateway(keep=False)) as prepared:
        process = prepared.order(["serve", "--config", "other.yaml", "--port", str(port)], environment, log)
        assert process is not None and os.getsid(process.pid) == process.pid
        assert process.wait(PATIENCE_S) == 1
        assert "TANDEM_LIST_ALIASES" in log.read_text() and "Traceback" not in log.read_text()
        assert prepared.order(["serve"], environment, log) is None, "there is one order"


def test_it_ends_without_an_order() -> None:
    """Its parent has closed it, or died."""
    prepared = PreparedGateway(keep=True)
    assert len(_children()) == 1
    prepared.close()
    assert not _children()
    orphan = PreparedGateway(keep=True)
    assert orphan._process is not None and orphan._process.stdin is not None
    orphan._process.stdin.close()
    assert orphan._process.wait(PATIENCE_S) == 0


def test_a_dead_one_takes_no_order(tmp_path: Path) -> None:
    """The caller starts another."""
    with closing(PreparedGateway(keep=False)) as prepared:
        (child,) = _children()
        child.kill()
        eventually(lambda: child.status() == psutil.STATUS_ZOMBIE)
        assert prepared.order(["serve"], {}, tmp_path / "log") is None


def test_a_process_with_the_wrong_tie_is_replaced(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is kept may not end with the command. The prepared process ends at once."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("tandem.yaml").write_text(f"port: {port}\nmodels: {{m: {{url: 'http://127.0.0.1:9'}}}}\n")
    with closing(PreparedGateway(keep=False)) as prepared:
        (waiting,) = _children()
        gateway = OwnGateway(load_settings(), None, {}, keep=True, prepared=prepared)
        try:
            gateway.wait_until_up()
            assert not waiting.is_running() and gateway.pid != waiting.pid
        finally:
            gateway.end()


def test_a_process_that_dies_with_its_order_is_reported(tmp_path: Path, port: int) -> None:
    """The log of an earlier run is no reason."""
    settings = load_settings(port=port, state_dir=tmp_path / "state")
    settings.state_dir.mkdir()
    (settings.state_dir / "run.log").write_text("llama-tandem: an earlier reason\n")
    with closing(PreparedGateway(keep=False)) as prepared:
        (child,) = _children()
        child.suspend()
        gateway = OwnGateway(settings, None, {}, prepared=prepared)
        child.kill()
        with pytest.raises(UpstreamError, match=r"did not start:\nexit code -9$"):
            gateway.wait_until_up()


@pytest.mark.parametrize("words", [["m", "--help"], ["-h"], ["m", "--config", "none.yaml"]])
def test_a_command_that_starts_nothing_prepares_nothing(words: list[str]) -> None:
    assert prepared_for_run(words) is None and not _children()


def test_a_command_without_words_is_prepared(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """`llama-tandem run` alone runs the only model."""
    monkeypatch.setenv("TANDEM_PORT", str(port))
    prepared = prepared_for_run([])
    assert prepared is not None and not prepared.keep
    prepared.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_gateway_that_listens_is_used_instead(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        Path("other.yaml").write_text(f"host: {host}\nport: {taken.getsockname()[1]}\n")
        assert prepared_for_run(["m", "--config=other.yaml", "a", "question"]) is None
        monkeypatch.setenv("TANDEM_PORT", str(free_port()))
        prepared = prepared_for_run(["m", "--config", "other.yaml", "--keep"])
        assert prepared is not None and prepared.keep and len(_children()) == 1
        prepared.close()
