"""What memory the machine has, by those who know it."""

from pathlib import Path

import psutil
import pytest

from app.engine import devices
from app.engine import memory as machine
from app.engine.memory import host_memory, this_machine


def test_devices_are_asked_of_the_engine_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, or where it does not tell, they are unknown and the reason is kept."""
    binary = tmp_path / "llama-server"
    binary.write_bytes(b"")
    binary.chmod(0o755)
    page = "Available devices:\n  CUDA0: A GPU (1000 MiB, 900 MiB free)\n"
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: page)
    gpus = this_machine(str(binary)).devices
    assert gpus is not None and [(device.name, device.total, device.free) for device in gpus] == [
        ("CUDA0", 1000 << 20, 900 << 20)
    ]
    monkeypatch.setattr(devices, "ask", lambda engine, flag, running, own: "")
    silent = this_machine(str(binary))
    assert silent.devices is None and "--list-devices lists nothing" in silent.origin
    absent = this_machine(str(tmp_path / "none"))
    assert absent.devices is None and "there is no file" in absent.origin


@pytest.mark.parametrize(("limit", "counted"), [("1073741824\n", 1 << 30), ("max\n", None), ("", None)])
def test_a_container_has_what_it_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, counted: int | None
) -> None:
    """The operating system tells the memory of the whole machine."""
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(machine, "_LIMITS", (tmp_path / "memory.max", tmp_path / "absent"))
    assert host_memory() == (counted or psutil.virtual_memory().total)
