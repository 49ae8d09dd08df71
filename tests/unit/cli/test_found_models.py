"""What `init` finds on a machine, and the file that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.cli.example import reason_of_demo, write_example
from app.cli.found_models import FoundModel, find_models
from app.config.settings import load_settings
from app.engine.memory import Machine
from app.models.catalog import Catalog
from tests.support.hub_models import model, shards

BOX = Machine(None, 16_000_000_000, False, "nobody")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nobody's home, and a working folder below it."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE", "TANDEM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


def put(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model() if content is None else content)
    return path


def put_everywhere(home: Path) -> None:
    """A model in each place where people have some."""
    put(home / "work/models/mine.gguf")
    put(home / "work/models/acme/Vis-GGUF/Vis-Q4_K_M.gguf")
    put(home / "work/models/acme/Vis-GGUF/mmproj-F16.gguf")
    put(home / "work/models/half.gguf", b"GG")
    for path, content in shards("big-Q4_K_M", 2).items():
        put(home / "work/models/org/Big-GGUF" / path, content)
    blob = put(home / ".cache/huggingface/hub/models--org--Tiny-GGUF/blobs/abc")
    link = home / ".cache/huggingface/hub/models--org--Tiny-GGUF/snapshots/1/tiny-Q8_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    put(home / ".lmstudio/models/pub/Studio-GGUF/studio-Q4_0.gguf")
    put(home / ".ollama/models/blobs/sha256-1")
    manifest = home / ".ollama/models/manifests/registry.ollama.ai/library/llama3/8b"
    manifest.parent.mkdir(parents=True)
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:1"}]
    manifest.write_text(json.dumps({"layers": layers}))


def test_models_are_found_where_people_have_them(home: Path) -> None:
    """One entry a model: shards together, a projector with its model, half a file not at all."""
    put_everywhere(home)
    found = {found.name: found for found in find_models(None, BOX)}
    assert set(found) == {"mine", "acme/Vis", "org/Big", "org/Tiny", "pub/Studio", "llama3:8b"}
    assert found["acme/Vis"].mmproj == home / "work/models/acme/Vis-GGUF/mmproj-F16.gguf"
    assert found["org/Big"].path.name == "big-Q4_K_M-00001-of-00002.gguf"
    assert (
        "in Ollama's folder" in found["llama3:8b"].reason() and "in LM Studio's folder" in found["pub/Studio"].reason()
    )


def test_the_file_for_them_loads_and_finds_their_files(home: Path) -> None:
    """Every entry resolves to its file where `init` was run."""
    put_everywhere(home)
    found = find_models(None, BOX)
    catalog = Catalog(load_settings(write_example(Path("tandem.yaml"), found)))
    for entry in found:
        assert catalog.spec(catalog.resolve(entry.name)).target == entry.path


def test_names_are_such_that_clients_can_send_them(home: Path) -> None:
    """Spaces and commas go; two quantizations of a repo have names of their own."""
    put(home / "work/models/my model, v2.gguf")
    put(home / "work/models/a/R-GGUF/r-Q4_K_M.gguf")
    put(home / "work/models/a/R-GGUF/r-Q8_0.gguf")
    names = [found.name for found in find_models(None, BOX)]
    assert names == ["a/R", "a/R:Q8_0", "my-model--v2"]
    load_settings(write_example(Path("tandem.yaml"), find_models(None, BOX)))


def test_what_does_not_fit_is_named_and_left_out(home: Path) -> None:
    """A first request that ends without memory is no good beginning."""
    put(home / "work/models/mine.gguf")
    small = Machine(None, 1_000_000, False, "nobody")
    (found,) = find_models(None, small)
    assert found.memory == "no" and "left out, it needs about" in found.reason()
    path = write_example(Path("tandem.yaml"), [found])
    assert "mine" not in load_settings(path).models and "# mine: " in path.read_text()


@pytest.mark.parametrize("installed", [True, False])
def test_without_models_there_is_one_that_works(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the package where it is installed, else one that is downloaded when it is asked for."""
    monkeypatch.setattr("app.cli.example.demo_is_installed", lambda: installed)
    (entry,) = load_settings(write_example(Path("tandem.yaml"))).models.values()
    assert (entry.target.package is not None) is installed  # type: ignore[union-attr]
    assert (entry.pull == "on_demand") is not installed  # type: ignore[union-attr]
    assert entry.request.defaults == {"temperature": 0.2, "top_p": 0.9}
    assert ("downloaded on first request" in reason_of_demo([])) is not installed


def test_a_folder_may_be_named(home: Path) -> None:
    """Then nothing else is looked at, and one that is not there is an error."""
    put_everywhere(home)
    folder = put(home / "elsewhere/only.gguf").parent
    done = CliRunner().invoke(cli, ["init", "--from-folder", str(folder)])
    assert done.exit_code == 0 and f"only: 0.05 MB, in {folder}; fits in memory" in done.output, done.output
    assert "mine" not in done.output
    wrong = CliRunner().invoke(cli, ["init", "--from-folder", "nowhere", "--config", "other.yaml"])
    assert wrong.exit_code == 1 and "nowhere: there is no such folder" in wrong.output


def test_a_long_context_is_not_taken_whole() -> None:
    """It would take memory that a newcomer may not have."""
    made = FoundModel("m", Path("m.gguf"), "here", trained=131072)
    assert made.context == 8192 and FoundModel("m", Path("m.gguf"), "here", trained=2048).context == 2048
