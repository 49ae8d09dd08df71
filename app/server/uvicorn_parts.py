"""The parts of uvicorn that the gateway uses, without its command line, whose imports take 30 ms and 2.4 MB.

Other modules of `server/` import uvicorn's names from here. The package runs whole on the first use of any other name.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any


def _delay_the_package() -> None:
    """Registers the package before its own `__init__` runs, which imports the command line."""
    spec = find_spec("uvicorn") if "uvicorn" not in sys.modules else None
    if spec is None or (loader := spec.loader) is None:
        return
    package = module_from_spec(spec)

    def run_whole(name: str) -> Any:
        del vars(package)["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    vars(package)["__getattr__"] = run_whole
    sys.modules["uvicorn"] = package


_delay_the_package()

from uvicorn.config import Config  # noqa: E402

# Submodules read it from the package
vars(sys.modules["uvicorn"])["Config"] = Config

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle  # noqa: E402
from uvicorn.server import Server  # noqa: E402

__all__ = ["Config", "HttpToolsProtocol", "RequestResponseCycle", "Server"]
