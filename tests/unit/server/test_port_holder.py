"""A port that is taken, and by whom."""

from __future__ import annotations

import os
import socket

import pytest

from app.errors import ConfigError
from app.server.listening import Listeners
from app.server.port_holder import holder_of
from app.server.serve import listen


def test_a_taken_port_names_its_holder() -> None:
    """Here that is this very process; the way out is named with it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"in use, by .* \(process {os.getpid()}\)\. Choose .* TANDEM_PORT"):
            listen(Listeners(), "127.0.0.1", port)
    assert holder_of(port) == ""
