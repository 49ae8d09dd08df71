"""The folder of a sidecar: its socket lies there, and it runs there, since Ray needs an empty working folder.

The gateway removes it, and after a `kill -9` of the gateway the sidecar does. Folders that both have left are removed
at the next start.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from app.supervisor.orphans import marker, orphaned

SOCKET = "socket"
_PREFIX = "tandem-"


def create_sidecar_folder() -> Path:
    """An empty folder that only this user can read; its name has the marker of this process."""
    _sweep()
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{marker()}-"))


def _sweep() -> None:
    """Removes the folders of gateways that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*:*-*"):
        if orphaned(folder.name.removeprefix(_PREFIX).rpartition("-")[0]) and not _listens(folder / SOCKET):
            shutil.rmtree(folder, ignore_errors=True)


def _listens(path: Path) -> bool:
    """A gateway of another container may share the folder, but not the numbers of processes."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
