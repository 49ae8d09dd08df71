"""`pull` by the names that people have: what it takes, what it says, what is next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from app.config.settings import load_settings
from app.models.catalog import Catalog
from tests.support.commands import run_command
from tests.support.fake_hub import FakeHub
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model
from tests.support.models import spec_of
from tests.support.screen import TerminalProgram

REPO = "acme/Tiny-GGUF"
FILES = {f"tiny-{name}.gguf": model() for name in ("Q2_K", "Q4_K_M", "Q8_0", "F32")}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add(REPO, FILES)
        yield hub


@pytest.mark.parametrize("name", [REPO, f"hf.co/{REPO}", f"https://huggingface.co/{REPO}", f"hf:{REPO}"])
def test_a_repo_without_a_quantization_brings_what_fits_best(name: str, hub: FakeHub, tmp_path: Path) -> None:
    """By each of its names; the choice is said in a line, and the end says what is next."""
    done = run_command(tmp_path, hub, "pull", name)
    assert done.returncode == 0, done.stderr
    assert {asked.path for asked in hub.fetched} == {"tiny-Q4_K_M.gguf"}
    assert f"{REPO}: takes Q4_K_M (0.05 MB) of 4 quantizations, fits in memory" in done.stderr
    assert "Complete: 0.05 MB in " in done.stderr and f"`llama-tandem pull {REPO} --add NAME` adds it" in done.stderr
    pasted = yaml.safe_load(done.stderr[done.stderr.index("models:\n") :])
    assert pasted["models"] == {"acme/Tiny": {"target": {"repo": REPO, "include": "tiny-Q4_K_M.gguf"}}}


def test_a_pasted_address_of_a_file_brings_that_file(hub: FakeHub, tmp_path: Path) -> None:
    """And what was begun is gone on with, though it is not what would be chosen."""
    done = run_command(tmp_path, hub, "pull", f"https://huggingface.co/{REPO}/blob/main/tiny-Q8_0.gguf")
    assert done.returncode == 0, done.stderr
    again = run_command(tmp_path, hub, "pull", REPO)
    assert "takes Q8_0" in again.stderr and "on disk already" in again.stderr
    assert {asked.path for asked in hub.fetched} == {"tiny-Q8_0.gguf"}


def test_what_is_in_the_file_already_is_said(hub: FakeHub, tmp_path: Path) -> None:
    """Nobody needs a second entry."""
    assert run_command(tmp_path, hub, "pull", REPO, "--add", "tiny").returncode == 0
    again = run_command(tmp_path, hub, "pull", f"{REPO}:Q4_K_M")
    assert "It is 'tiny' in tandem.yaml. Next: llama-tandem run tiny" in again.stderr
    assert "Next: llama-tandem run tiny" in run_command(tmp_path, hub, "pull", "tiny").stderr


def test_an_unknown_alias_is_no_repo(hub: FakeHub, tmp_path: Path) -> None:
    """Nothing is asked of the Hub for it."""
    done = run_command(tmp_path, hub, "pull", "tiny")
    assert done.returncode == 1 and "Model 'tiny' not found" in done.stderr and not hub.asked


def test_programs_get_the_entry_as_an_event(hub: FakeHub, tmp_path: Path) -> None:
    """Nothing but events is on stdout."""
    done = run_command(tmp_path, hub, "pull", REPO, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["text"].startswith("models:\n") and done.stderr == ""


@pytest.mark.parametrize(("columns", "answer"), [(80, "\r"), (120, "y\r"), (80, "n\r")])
def test_on_a_terminal_the_entry_is_offered(columns: int, answer: str, hub: FakeHub, tmp_path: Path) -> None:
    """The file has it afterwards, or the lines to paste stand there."""
    with TerminalProgram(tmp_path, "pull", REPO, columns=columns, env=hub_variables(hub, tmp_path)) as terminal:
        terminal.see("Add it to tandem.yaml as 'acme/Tiny'? [Y/n]")
        terminal.type(answer)
        assert terminal.end() == 0
        assert all(len(line) <= columns for line in terminal.screen.splitlines())
        if answer == "n\r":
            assert "models:" in terminal.screen and not (tmp_path / "tandem.yaml").exists()
            return
        assert "Next: llama-tandem run acme/Tiny" in terminal.screen
    settings = load_settings(tmp_path / "tandem.yaml")
    assert spec_of(Catalog(settings), "acme/Tiny").target.name == "tiny-Q4_K_M.gguf"


def test_without_colour_a_pull_writes_no_escape_code(hub: FakeHub, tmp_path: Path) -> None:
    """Bars included."""
    env = hub_variables(hub, tmp_path) | {"NO_COLOR": "1"}
    with TerminalProgram(tmp_path, "pull", f"{REPO}:Q8_0", env=env) as terminal:
        terminal.see("[Y/n]")
        terminal.type("n\r")
        assert terminal.end() == 0 and "\x1b" not in terminal.raw


def test_a_repo_without_gguf_files_says_where_to_look(hub: FakeHub, tmp_path: Path) -> None:
    """No six lines about memory below it."""
    hub.add("acme/Tiny", {"model.safetensors": b"x"})
    shown = run_command(tmp_path, hub, "show", "acme/Tiny")
    assert shown.returncode == 1 and not shown.stdout
    assert "acme/Tiny has no GGUF model. `llama-tandem search Tiny` may find a repo that has." in shown.stderr
    pulled = run_command(tmp_path, hub, "pull", "acme/Tiny")
    assert pulled.returncode == 1 and "acme/Tiny has no GGUF model. `llama-tandem search Tiny`" in pulled.stderr
