"""What memory the machine has, by those who know it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.engine import devices
from app.engine import memory as machine
from app.engine.cgroup import MemoryGroup, memory_group
from app.engine.memory import host_memory, this_machine

ROOT = Path(__file__).parents[3]


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
    monkeypatch.setattr(machine, "memory_group", lambda: memory_group(tmp_path, tmp_path / "absent"))
    assert host_memory() == (counted or psutil.virtual_memory().total)


SECOND = ("memory.max", "memory.current", "")
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def write_group(folder: Path, names: tuple[str, str, str], limit: str, used: int) -> None:
    """With 300 bytes of files in `used`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, str(used)), strict=False):
        (folder / name).write_text(f"{text}\n")
    prefix = names[2]
    (folder / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file 100\n{prefix}active_file 200\n")


@pytest.mark.parametrize("names", [SECOND, FIRST], ids=["second", "first"])
def test_a_service_has_what_its_slices_leave_it(tmp_path: Path, names: tuple[str, str, str]) -> None:
    """The least limit of its own group and those above it, and what is used of that."""
    top = tmp_path if names is SECOND else tmp_path / "memory"
    write_group(top / "system.slice", names, "5000", 4000)
    write_group(top / "system.slice" / "tandem.service", names, "max" if names is SECOND else "9223372036854771712", 9)
    own = tmp_path / "cgroup"
    own.write_text(f"{'0::' if names is SECOND else '4:cpu,memory:'}/system.slice/tandem.service\n")
    assert memory_group(tmp_path, own) == MemoryGroup(5000, 3700)
    write_group(top / "system.slice" / "tandem.service", names, "2000", 1300)
    assert memory_group(tmp_path, own) == MemoryGroup(2000, 1000)


def test_a_path_from_outside_the_container_means_its_root(tmp_path: Path) -> None:
    write_group(tmp_path, SECOND, "4000", 1000)
    (tmp_path / "cgroup").write_text("0::/../../docker/abc\n")
    assert memory_group(tmp_path, tmp_path / "cgroup") == MemoryGroup(4000, 700)
    assert memory_group(tmp_path / "none", tmp_path / "cgroup") is None


def test_a_real_group_limits_the_host(tmp_path: Path) -> None:
    """Where this machine lets one be made."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    second = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    path = next((path for _, names, path in lines if (names == "" and second) or "memory" in names.split(",")), "/")
    folder = Path("/sys/fs/cgroup", "" if second else "memory", path.lstrip("/"), f"tandem-test-{os.getpid()}")
    limit = folder / (SECOND if second else FIRST)[0]
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not limit.exists():
            pytest.skip("control groups here have no memory")
        limit.write_text(str(3 << 30))
        script = (
            f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            "from app.engine.memory import host_memory, host_used; print(host_memory(), host_used())"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        total, used = map(int, done.stdout.split())
        assert total == 3 << 30 and used < 1 << 30
    finally:
        folder.rmdir()
