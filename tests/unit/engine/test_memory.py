"""What memory the machine has, by those who know it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from app.engine import devices
from app.engine import memory as machine
from app.engine.cgroup import MemoryGroup, memory_group
from app.engine.memory import host_memory, host_used, this_machine

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


@pytest.mark.parametrize("names", [SECOND, FIRST], ids=["second", "first"])
def test_a_group_above_may_have_less_left_than_its_own(tmp_path: Path, names: tuple[str, str, str]) -> None:
    """Its limit is higher, but its other services hold most of it; it may even be over it."""
    top = tmp_path if names is SECOND else tmp_path / "memory"
    write_group(top / "slice", names, "9000", 9000)
    write_group(top / "slice" / "tandem", names, "2000", 800)
    own = tmp_path / "cgroup"
    own.write_text(f"{'0::' if names is SECOND else '9:memory:'}/slice/tandem\n")
    assert memory_group(tmp_path, own) == MemoryGroup(2000, 1700)
    write_group(top / "slice", names, "9000", 9800)
    assert memory_group(tmp_path, own) == MemoryGroup(2000, 2000)


def test_a_group_is_kept_below_its_high_mark(tmp_path: Path) -> None:
    """Above it the kernel slows the group down; `max` is no limit."""
    write_group(tmp_path, SECOND, "4000", 1000)
    (tmp_path / "memory.high").write_text("3000\n")
    assert memory_group(tmp_path, tmp_path / "absent") == MemoryGroup(3000, 700)
    (tmp_path / "memory.high").write_text("max\n")
    assert memory_group(tmp_path, tmp_path / "absent") == MemoryGroup(4000, 700)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_group(tmp_path, tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("group", "used"),
    [(None, 6 << 30), (MemoryGroup(8 << 30, 1 << 30), 4 << 30), (MemoryGroup(8 << 30, 7 << 30), 7 << 30)],
)
def test_a_group_has_no_more_than_the_machine_has_left(
    monkeypatch: pytest.MonkeyPatch, group: MemoryGroup | None, used: int
) -> None:
    """Of 10 GiB, 4 are available: a group of 8 has used 4 of its own then, though it holds only one."""
    whole = SimpleNamespace(total=10 << 30, available=4 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: whole)
    monkeypatch.setattr(machine, "memory_group", lambda: group)
    assert host_used() == used


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
