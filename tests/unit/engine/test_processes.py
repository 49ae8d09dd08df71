"""Which processes a process has started."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.engine.processes import descendants

# Says when its own child is there
_PARENT = "import subprocess, sys; subprocess.Popen(['sleep', '60']); print(flush=True); sys.stdin.read()"


@pytest.fixture
def family() -> Iterator[psutil.Process]:
    """A child of ours that has a child."""
    child = subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    process = psutil.Process(child.pid)
    below = process.children(recursive=True)
    yield process
    for one in (*below, process):
        one.kill()
    child.communicate()


@pytest.mark.parametrize("proc", [Path("/proc"), Path("/nowhere")], ids=["listed", "searched"])
def test_children_of_children_are_found(family: psutil.Process, proc: Path) -> None:
    """By the kernel's list, and without one by psutil."""
    [grandchild] = family.children()
    assert grandchild in descendants(psutil.Process(), proc) and family in descendants(psutil.Process(), proc)
    assert descendants(family, proc) == [grandchild]
    assert descendants(grandchild, proc) == []


def test_what_another_thread_has_started_counts(family: psutil.Process) -> None:
    """The kernel lists children by thread."""
    started: list[subprocess.Popen[bytes]] = []
    enough = threading.Event()

    def start() -> None:
        started.append(subprocess.Popen(["sleep", "60"]))
        ready.set()
        enough.wait(60)

    ready, thread = threading.Event(), threading.Thread(target=start)
    thread.start()
    ready.wait(60)
    try:
        assert {started[0].pid, family.pid} <= {process.pid for process in descendants(psutil.Process())}
    finally:
        enough.set()
        thread.join()
        started[0].kill()
        started[0].wait()


def test_a_process_that_is_gone_has_none(tmp_path: Path) -> None:
    """One of the list may have ended before it is looked at."""
    own = psutil.Process()
    tasks = tmp_path / str(own.pid) / "task" / str(own.pid)
    tasks.mkdir(parents=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tasks / "children").write_text(f"{gone.pid} ")
    assert descendants(own, tmp_path) == []
