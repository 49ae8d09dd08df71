"""Ports for what a test starts: a range for each pytest-xdist worker, below the ports that the kernel hands out."""

from __future__ import annotations

import os
import socket
from itertools import count

FIRST = 10_000
# Of a worker; sixteen workers end at 26,000, and Linux hands out 32768 and up.
RANGE = 1_000
# A gateway with several engines takes ports above its `engine_port`.
STEP = 5
WORKERS = 16

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
# Two runs on one machine begin at different places.
_turns = count(os.getpid())


def free_port() -> int:
    """A port of this worker's range on which nobody listens; the next call gives another."""
    for _ in range(RANGE // STEP):
        port = FIRST + _WORKER * RANGE + next(_turns) * STEP % RANGE
        with socket.socket() as probe:
            # As llama-server binds: a port in TIME_WAIT is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free in the range of this worker")
