"""Finds out whether a server that answers without our key is still our own child, behind a wrapper that dropped it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from app.engine.processes import descendants
from app.errors import Diagnosis


def is_own(pid: int, port: int, argv: Sequence[str], props: Mapping[str, Any]) -> bool:
    """Compares the listening process with the child and its descendants, else the model in `props` with the plan's.

    In a container the container's proxy listens, so the model's path decides. `props` is empty if the server sent none.
    Blocks: psutil reads the sockets of each of these processes.
    """
    return _listens(pid, port) or ("--model" in argv and props.get("model_path") == _behind("--model", argv))


def _behind(flag: str, argv: Sequence[str]) -> str:
    return argv[argv.index(flag) + 1]


def _listens(pid: int, port: int) -> bool:
    try:
        parent = psutil.Process(pid)
        processes = [parent, *descendants(parent)]
    except psutil.Error:
        return False
    return any(_listens_itself(process, port) for process in processes)


def _listens_itself(process: psutil.Process, port: int) -> bool:
    try:
        sockets = process.net_connections("tcp")
    except (psutil.Error, OSError):
        return False
    return any(s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port for s in sockets)


def key_not_handed_on(program: str, tail: tuple[str, ...]) -> Diagnosis:
    """The diagnosis for a wrapper; `program` is the gateway's child, which starts llama-server."""
    return Diagnosis(
        "key_not_handed_on",
        f"The engine runs without its key: {program} does not pass LLAMA_API_KEY to llama-server.",
        "Pass the environment variable on (docker run -e LLAMA_API_KEY; no `env -i` without it), "
        "and set no other key there.",
        permanent=True,
        log_tail=tail,
    )
