"""A look at the machine's memory: what a list of devices that fails, hangs or changes means for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.engine import devices
from app.engine.nvml import Nvml
from app.errors import ProbeError
from app.supervisor import memory_sight
from app.supervisor.memory_sight import MemorySight
from tests.support.scripted_nvml import ScriptedCard, scripted_nvml

LIST = "Available devices:\n  CUDA0: A GPU (1000 MiB, 900 MiB free)\n"
TWO = f"{LIST}  CUDA1: A GPU (1000 MiB, 100 MiB free)\n"


class Lister:
    """Plays `--list-devices`; a page may be an error. Time passes only when it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.binary = folder / "llama-server"
        self.binary.write_bytes(b"")
        self.binary.chmod(0o755)
        self.page: str | ProbeError = LIST
        self.now, self.asked = 0.0, 0
        monkeypatch.setattr(devices, "ask", self._ask)
        monkeypatch.setattr(memory_sight.time, "monotonic", lambda: self.now)
        self.sight = MemorySight(str(self.binary))

    def _ask(self, *_: object) -> str:
        self.asked += 1
        if isinstance(self.page, ProbeError):
            raise self.page
        return self.page

    def names(self, page: str | ProbeError | None = None, *, after: float = 0.0) -> list[str] | None:
        self.page, self.now = page or self.page, self.now + after
        seen = self.sight.see().devices
        return None if seen is None else [device.name for device in seen]


@pytest.fixture
def lister(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lister:
    return Lister(tmp_path, monkeypatch)


def test_a_list_is_reused_for_seconds(lister: Lister) -> None:
    assert lister.names() == lister.names(TWO) == ["CUDA0"]
    assert lister.asked == 1
    assert lister.names(after=6.0) == ["CUDA0", "CUDA1"]


def test_after_a_failure_the_last_list_holds(lister: Lister) -> None:
    """One that hangs takes its whole patience, so it is asked again only after a minute."""
    assert lister.names(TWO) == ["CUDA0", "CUDA1"]
    assert lister.names(ProbeError("did not end within 20 s"), after=6.0) == ["CUDA0", "CUDA1"]
    assert lister.names(LIST, after=30.0) == ["CUDA0", "CUDA1"] and lister.asked == 2
    assert lister.names(after=31.0) == ["CUDA0"] and lister.asked == 3


def test_a_device_may_vanish_and_come_back(lister: Lister) -> None:
    assert lister.names(TWO) == ["CUDA0", "CUDA1"]
    assert lister.names(LIST, after=6.0) == ["CUDA0"]
    assert lister.names("Available devices:\n  (none)\n", after=6.0) == []
    assert lister.names(TWO, after=6.0) == ["CUDA0", "CUDA1"]


def test_a_build_without_devices_is_asked_once(lister: Lister) -> None:
    assert lister.names("Available devices:\n  (none)\n") == lister.names(LIST, after=99.0) == []
    assert lister.asked == 1


@pytest.mark.parametrize(
    "page",
    [
        ProbeError("no such flag"),
        "usage: ...",
        "Available devices:\nggml: 5 things\n",
        "Available devices:\n  CUDA0: A GPU (unknown)\n",
    ],
)
def test_a_list_that_cannot_be_read_leaves_memory_unknown(lister: Lister, page: str | ProbeError) -> None:
    """Devices that are listed in another form are not none."""
    assert lister.names(page) is None
    assert lister.names(LIST, after=61.0) == ["CUDA0"]


def test_another_build_is_asked_anew(lister: Lister, tmp_path: Path) -> None:
    """Whatever the last one has listed."""
    assert lister.names() == ["CUDA0"]
    other = tmp_path / "other"
    other.write_bytes(b"another")
    other.chmod(0o755)
    lister.sight.llama_server = str(other)
    assert lister.names(ProbeError("hangs")) is None
    lister.binary.unlink()
    lister.sight.llama_server = str(lister.binary)
    assert lister.names(LIST) is None


def test_a_list_is_made_anew_when_a_process_of_ours_has_come_or_gone(
    lister: Lister, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is missing from the last list, or still in it; a list that fails is not tried the sooner."""
    ours: list[int] = []
    monkeypatch.setattr(memory_sight, "descendants", lambda _: [SimpleNamespace(pid=pid) for pid in ours])
    monkeypatch.setattr(memory_sight, "_of_our_children", lambda: 0)
    for pids, asked in (([], 1), ([7], 2), ([7], 2), ([8], 3), ([], 4)):
        ours[:] = pids
        lister.names()
        assert lister.asked == asked
    lister.sight.forget()
    lister.names()
    assert lister.asked == 5
    ours[:] = [9]
    assert lister.names(ProbeError("hangs")) == ["CUDA0"] and lister.asked == 6
    ours[:] = [10]
    lister.sight.forget()
    assert lister.names(LIST, after=30.0) == ["CUDA0"] and lister.asked == 6


def test_what_engines_hold_is_asked_with_the_list(lister: Lister, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown as long as NVML knows none of them; then nothing held is nothing."""
    cards = ScriptedCard("A GPU", 1000, "GPU-1")
    lister.sight = MemorySight(str(lister.binary), Nvml(scripted_nvml(cards)))
    lister.page = "Available devices:\n  CUDA0: A GPU (1000 MiB, 900 MiB free)\n"
    monkeypatch.setattr(memory_sight, "descendants", lambda _: [SimpleNamespace(pid=7)])
    monkeypatch.setattr(memory_sight, "_of_our_children", lambda: 0)
    assert lister.sight.see().held is None
    for processes, held in (({7: 100, 8: 50}, {"CUDA0": 100 << 20}), ({8: 50}, {})):
        cards.processes = processes
        lister.sight.forget()
        assert lister.sight.see().held == held


def test_what_this_process_does_not_know_of_is_used_by_others(lister: Lister, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's use, less what engines of ours hold."""
    look: Callable[[], int] = lambda: 5000  # noqa: E731
    monkeypatch.setattr(memory_sight, "host_used", look)
    monkeypatch.setattr(memory_sight, "_of_our_children", lambda: 1500)
    assert lister.sight.see().host_others == 3500
