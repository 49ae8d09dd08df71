"""Ports for engines at one address: the first free one from a first port up."""

from __future__ import annotations

import socket

from app.errors import NoPortError


class Ports:
    """Ports of our own engines, which may not listen yet. Each port is also tried, for other programs."""

    def __init__(self, first: int, address: str, last: int = 65535) -> None:
        self._first = first
        self._last = last
        self._address = address
        self._held: set[int] = set()

    def take(self, *, above: int = 0) -> int:
        """Reserves a port on which no process listens. Raises NoPortError if none is free up to the last."""
        for port in range(max(self._first, above + 1, 1), self._last + 1):
            if port not in self._held and _free(self._address, port):
                self._held.add(port)
                return port
        last = "up" if self._last == 65535 else f"to {self._last}"
        raise NoPortError(f"No port is free from {self._first} {last}.", retry_after=5)

    def release(self, port: int) -> None:
        self._held.discard(port)


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        # As llama-server binds: a port in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
