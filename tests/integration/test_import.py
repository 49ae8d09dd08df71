"""`import` with what lies around it: a folder of models, a Hub, a tandem.yaml that is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import forked
from tests.support.fake_hub import FakeHub
from tests.support.gateway import fake_llama_server, header_only
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add("acme/Tiny-GGUF", {"tiny-mxfp4.gguf": model()})
        yield hub


def run(hub: FakeHub, folder: Path, *words: str) -> tuple[int, str, str]:
    import os

    env = {name: value for name, value in os.environ.items() if not name.startswith(("TANDEM_", "HF_", "LLAMA_"))}
    env |= hub_variables(hub, folder) | {"TANDEM_LLAMA_SERVER": str(fake_llama_server(folder))}
    done = forked.run(["import", *words], env=env, folder=folder)
    return done.returncode, done.stdout, done.stderr


def test_the_hub_says_how_a_repo_names_its_files(hub: FakeHub, tmp_path: Path) -> None:
    code, out, err = run(hub, tmp_path, "llama-server", "-hf", "acme/Tiny-GGUF")
    assert code == 0 and "takes the first file" in err
    assert yaml.safe_load(out)["models"]["Tiny"]["target"] == {"repo": "acme/Tiny-GGUF", "quantization": "mxfp4"}


def test_a_repo_that_the_hub_does_not_have_is_told_and_written_as_before(hub: FakeHub, tmp_path: Path) -> None:
    code, out, err = run(hub, tmp_path, "llama-server", "-hf", "no/where")
    assert code == 0 and "its files are unknown" in err
    assert yaml.safe_load(out)["models"]["where"]["target"]["include"] == "*Q4_K_M*"


def test_add_keeps_what_is_in_the_file(hub: FakeHub, tmp_path: Path) -> None:
    """Comments too; a folder of models is several entries, and a name that is there changes nothing."""
    (tmp_path / "tandem.yaml").write_text("# mine\nmodels:\n  a: {target: {path: a.gguf}}  # the first\n")
    for name in ("b", "c"):
        header_only(tmp_path / "m" / f"{name}.gguf")
    line = ["llama-server", "--models-dir", "m", "--models-max", "2", "-c", "512"]
    code, out, err = run(hub, tmp_path, "--add", *line)
    assert (code, out) == (0, "") and "Added 'b', 'c' to" in err
    text = (tmp_path / "tandem.yaml").read_text()
    written = yaml.safe_load(text)
    assert "# mine" in text and "# the first" in text and written["max_loaded"] == 2
    assert list(written["models"]) == ["a", "b", "c"] and written["models"]["b"]["ctx_size"] == 512
    code, out, err = run(hub, tmp_path, "--add", *line)
    assert code == 2 and "'b' exists already" in err and (tmp_path / "tandem.yaml").read_text() == text


def test_paths_of_the_line_are_found_from_another_folder(hub: FakeHub, tmp_path: Path) -> None:
    """They were relative to where the command runs, and stand in a file elsewhere."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "tandem.yaml").write_text("models: {}\n")
    code, _, err = run(hub, tmp_path, "--config", "etc/tandem.yaml", "--add", "llama-server", "-m", "m/b.gguf")
    assert code == 0, err
    entry = yaml.safe_load((tmp_path / "etc" / "tandem.yaml").read_text())["models"]["b"]
    assert entry["target"]["path"] == str(tmp_path / "m" / "b.gguf")
