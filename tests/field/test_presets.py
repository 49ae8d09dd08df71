"""Reports of people who come from llama-server's router, whose models are sections of an INI file."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from tests.support import forked
from tests.support.gateway import fake_llama_server, header_only


def test_a_routers_preset_file_becomes_a_tandem_yaml_that_check_takes(tmp_path: Path) -> None:
    """What is not carried over is told beside it."""
    env = dict(os.environ) | {"TANDEM_LLAMA_SERVER": str(fake_llama_server(tmp_path))}
    header_only(tmp_path / "coder.gguf")
    (tmp_path / "models.ini").write_text(
        "[*]\nc = 4096\n[coder]\nmodel = coder.gguf\ntemp = 0.2\nload-on-startup = true\n"
    )
    line = ["llama-server", "--models-preset", "models.ini", "--models-max", "2"]
    done = forked.run(["import", *line], env=env, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load(done.stdout)
    assert written["max_loaded"] == 2
    assert written["models"]["coder"] == {"target": {"path": "coder.gguf"}, "ctx_size": 4096, "temp": 0.2}
    assert "[coder] load-on-startup: dropped" in done.stderr
    (tmp_path / "tandem.yaml").write_text(done.stdout)
    checked = forked.run(["check"], env=env, folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
