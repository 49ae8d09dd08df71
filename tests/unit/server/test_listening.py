"""Sockets that listen before the settings are complete."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from app.config.listen_address import ServeOptions
from app.server.listening import Listeners
from tests.support.ports import free_port


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def test_a_client_that_came_early_is_accepted_later() -> None:
    """The socket that was opened early is the one that is taken."""
    port = free_port()
    with closing(Listeners()) as listeners:
        listeners.open_early(ServeOptions(port=port))
        with _connect(port) as client:
            listener = listeners.take("127.0.0.1", port)
            assert not listener.getblocking() and not listener.get_inheritable()
            accepted, address = listener.accept()
            with accepted:
                assert address == client.getsockname()
    with pytest.raises(ConnectionRefusedError):
        _connect(port)


def test_the_admin_port_listens_early_too(monkeypatch: pytest.MonkeyPatch) -> None:
    port, admin = free_port(), free_port()
    monkeypatch.setenv("TANDEM_ADMIN_PORT", str(admin))
    with closing(Listeners()) as listeners:
        listeners.open_early(ServeOptions(port=port))
        _connect(port).close()
        _connect(admin).close()


def test_clients_of_another_address_are_refused() -> None:
    """As soon as the settings are known."""
    early, right = free_port(), free_port()
    with closing(Listeners()) as listeners:
        listeners.open_early(ServeOptions(port=early))
        with _connect(early) as client:
            listeners.take("127.0.0.1", right)
            listeners.close_early()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        _connect(right).close()


def test_the_same_port_of_all_addresses_is_not_in_the_way() -> None:
    """The settings have changed since the first look: the early socket holds a part of what they want."""
    port = free_port()
    with closing(Listeners()) as listeners:
        listeners.open_early(ServeOptions(port=port))
        assert listeners.take("0.0.0.0", port).getsockname() == ("0.0.0.0", port)
        _connect(port).close()


def test_a_taken_port_is_reported_when_it_is_needed() -> None:
    """Not early, since an error in the settings comes first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with closing(Listeners()) as listeners:
            listeners.open_early(ServeOptions(port=port))
            with pytest.raises(OSError, match="in use"):
                listeners.take("127.0.0.1", port)
