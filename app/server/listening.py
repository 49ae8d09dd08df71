"""Opens the sockets that the gateway listens on: early, before its slow imports, or with the complete settings."""

from __future__ import annotations

import socket
from contextlib import suppress

from app.config.listen_address import ServeOptions, listen_address

_BACKLOG = 2048
LOOPBACK = "127.0.0.1"


class Listeners:
    """Listening sockets, to be closed at the end. A client that connects early waits until the gateway accepts.

    `early` holds the sockets that are not taken yet. They are closed at the end, and their clients refused, if the
    gateway cannot start or listens elsewhere.
    """

    def __init__(self) -> None:
        self._early: dict[tuple[str, int], socket.socket] = {}
        self._taken: list[socket.socket] = []

    def open_early(self, options: ServeOptions) -> None:
        """Listens for `serve` with these options, if their addresses are certain and free."""
        address = listen_address(options)
        if address is None:
            return
        wanted = [(address.host, address.port)]
        if address.admin_port:
            wanted.append((LOOPBACK, address.admin_port))
        for host, port in wanted:
            # A problem is reported by `take`, after those of the settings
            with suppress(OSError):
                self._early[host, port] = _listening(host, port)

    def take(self, host: str, port: int) -> socket.socket:
        """Returns the socket for an address, open already or new. Raises OSError or OverflowError."""
        listener = self._early.pop((host, port), None)
        if listener is None:
            # One of them may hold a part of this address
            self.close_early()
            listener = _listening(host, port)
        self._taken.append(listener)
        return listener

    def close_early(self) -> None:
        """Closes the sockets that are not taken: the settings have changed, or were read wrongly."""
        for listener in self._early.values():
            listener.close()
        self._early.clear()

    def close(self) -> None:
        """Closes all sockets."""
        self.close_early()
        for listener in self._taken:
            listener.close()


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
