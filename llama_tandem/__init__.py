"""The name under which Python runs the gateway: `llama-tandem`, and `python -m llama_tandem`. The code is in `app`."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_CODE = Path(__file__).parents[1] / "app"


def main() -> None:
    """Runs the console script."""
    import_own_app()
    from app.__main__ import main as run

    run()


def import_own_app() -> None:
    """Imports the `app` beside this package. Many projects have a folder `app`, which PYTHONPATH may put first."""
    if "app" in sys.modules or not (_CODE / "__init__.py").is_file():
        return
    spec = spec_from_file_location("app", _CODE / "__init__.py", submodule_search_locations=[str(_CODE)])
    assert spec is not None and spec.loader is not None
    module = sys.modules["app"] = module_from_spec(spec)
    spec.loader.exec_module(module)
