"""`python -P fork_server.py SOCKET_FD`: the project is imported once, and each order gets a fork.

A gateway spends four fifths of its start on imports, and the tests start hundreds. huggingface_hub is left out:
it reads the environment when it is imported.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pkgutil
import random
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# An order is JSON of `words`, `env` and `cwd`, with three file descriptors: stdin, stdout and stderr.
ORDER_BYTES = 1 << 18
DESCRIPTORS = 3
# They import huggingface_hub or Ray, or end the interpreter, or are the terminal's
_UNTOUCHED = (
    "app.cluster.sidecar",
    "app.__main__",
    "app.cli.",
    "app.models.download.preview",
    "app.models.hub.client",
    "app.pulls.offers",
)


def preload() -> None:
    """Imports what a gateway and `check` import, soon or late, and builds once what each gateway builds."""
    import anyio._backends._asyncio  # noqa: F401 - starlette's, at the first request
    import httpcore2  # noqa: F401 - httpx2's, at the first client
    import prometheus_client  # noqa: F401
    import uvloop  # noqa: F401

    import app
    import app.cli.check
    import app.cli.greeting

    for module in pkgutil.walk_packages(app.__path__, "app."):
        if not module.name.startswith(_UNTOUCHED):
            importlib.import_module(module.name)
    assert "huggingface_hub" not in sys.modules, "name the module that imports it in _UNTOUCHED"
    asyncio.run(_build())


async def _build() -> None:
    """FastAPI's routes: pydantic keeps two thirds of what the first ones cost."""
    from app.config.settings import Settings
    from app.main import Gateway

    with TemporaryDirectory() as folder:
        Gateway(Settings(models={}, state_dir=Path(folder), cache_dir=Path(folder)))._build_api()


def wait_for_orders(orders: socket.socket) -> dict[str, Any] | None:
    """Returns twice and more: an order in each child, None in the server when nobody gives orders any more."""
    children: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in children:
                    selector.unregister(key.fd)
                    _report_end(orders, key.fd, children.pop(key.fd))
                    continue
                message, descriptors, _, _ = socket.recv_fds(orders, ORDER_BYTES, DESCRIPTORS)
                if not message:
                    _end(children)
                    return None
                if (pid := os.fork()) == 0:
                    for pidfd in children:
                        os.close(pidfd)
                    _become(descriptors)
                    order: dict[str, Any] = json.loads(message)
                    return order
                for descriptor in descriptors:
                    os.close(descriptor)
                pidfd = os.pidfd_open(pid)
                children[pidfd] = pid
                selector.register(pidfd, selectors.EVENT_READ)
                orders.send(json.dumps({"pid": pid}).encode())


def _report_end(orders: socket.socket, pidfd: int, pid: int) -> None:
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        orders.send(json.dumps({"ended": pid, "returncode": os.waitstatus_to_exitcode(status)}).encode())


def _end(children: dict[int, int]) -> None:
    for pid in children.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become(descriptors: list[int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)


def main() -> None:
    preload()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        order = wait_for_orders(orders)
    if order is None:
        return
    # The child, which goes on as the process that was asked for
    random.seed()
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv = ["llama-tandem", *order["words"]]
    from app.__main__ import main as llama_tandem

    llama_tandem()


if __name__ == "__main__":
    main()
