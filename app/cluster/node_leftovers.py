"""Finds the processes of a Ray node by a marker in their environment, and makes and removes its folder."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from app.supervisor.orphans import marker, orphaned

NODE_MARKER = "LLAMA_TANDEM_NODE"
_PREFIX = "tandem-ray-"
_OWNER = "owner"
# Longer ones leave no room for the names of Ray's sockets
_LONGEST_FOLDER = 24
_GONE_WITHIN_S = 5.0


def create_node_folder() -> Path:
    """A short new folder for sockets and logs. It knows its owner: this process."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_temporary()))
    renew_node_folder(folder)
    return folder


def renew_node_folder(folder: Path) -> None:
    """Empties it: a head refuses to start beside the traces of its last run, and logs would grow for ever."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / _OWNER).write_text(marker())


def end_own_processes() -> None:
    """Kills the processes of nodes that this process has started, and waits until they are gone."""
    _kill([process for process, value in _marked() if value == marker()])


def clear_orphans() -> None:
    """Kills the processes of nodes whose supervisor is gone, and removes their folders."""
    _kill([process for process, value in _marked() if orphaned(value)])
    for owner in _temporary().glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError):
            if orphaned(owner.read_text()):
                shutil.rmtree(owner.parent, ignore_errors=True)


def _temporary() -> Path:
    folder = tempfile.gettempdir()
    return Path(folder if len(folder) <= _LONGEST_FOLDER else "/tmp")


def _marked() -> list[tuple[psutil.Process, str]]:
    marked = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if value := process.environ().get(NODE_MARKER):
                marked.append((process, value))
    return marked


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=_GONE_WITHIN_S)
