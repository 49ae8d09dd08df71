"""The greeting of `serve` and the file of `init`: examples that people copy."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli.example import write_example
from app.cli.greeting import greet
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import load_settings
from app.errors import ConfigError, Diagnosis, FilesMissingError
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from tests.support.models import ref_to

URL = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gateway(*names: str, local: bool = True, diagnosis: Diagnosis | None = None) -> Any:
    """Whose only engine is not settled before `loaded` is set."""
    loaded = asyncio.Event()

    async def settled(ref: ModelRef) -> Any:
        await loaded.wait()
        return SimpleNamespace(alias=ref.name, diagnosis=diagnosis)

    def files(ref: ModelRef) -> None:
        if ref.alias == "gone":
            raise FilesMissingError("gone")

    attached = AttachedEntry.model_validate({"url": "http://127.0.0.1:1"})
    entry = LocalEntry.model_validate({"target": {"path": "m.gguf"}}) if local else attached
    states = {"org/m": "ready"}
    return SimpleNamespace(
        catalog=SimpleNamespace(names=names, resolve=lambda name: ref_to(name, entry=entry), files=files),
        scheduler=SimpleNamespace(
            status=lambda ref: SimpleNamespace(state=states.get(ref.name, "stopped")), settled=settled
        ),
        eager=ref_to(names[0]) if local and len(names) == 1 else None,
        loaded=loaded,
    )


def greeted(gateway: Any, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What is said at once, and what when the engine has settled."""

    async def main() -> tuple[str, str]:
        greeting = asyncio.ensure_future(greet(gateway, URL))
        await asyncio.sleep(0)
        before = capsys.readouterr().out
        gateway.loaded.set()
        await greeting
        return before, capsys.readouterr().out

    return asyncio.run(main())


def test_the_only_model_is_greeted_when_it_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    """Who copies the command a second too early would wait without knowing for what."""
    before, after = greeted(gateway("org/m"), capsys)
    assert before == f"llama-tandem listens at {URL}; loading org/m ...\n"
    assert after.startswith(f"llama-tandem is ready at {URL}/v1\nmodels: org/m (ready)\n")


@pytest.mark.parametrize(("names", "local"), [(("org/m", "b"), True), (("org/m",), False)])
def test_models_that_load_on_demand_are_greeted_at_once(
    names: tuple[str, ...], local: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several, or one that others serve."""
    before, after = greeted(gateway(*names, local=local), capsys)
    assert before.startswith(f"llama-tandem is ready at {URL}/v1\nmodels: org/m ({'ready' if local else 'attached'})")
    assert after == ""


def test_a_model_that_does_not_load_is_told_in_the_greetings_place(capsys: pytest.CaptureFixture[str]) -> None:
    """With the engine's last words below."""
    diagnosis = Diagnosis("oom", "There is no memory.", "Take less.", permanent=False, log_tail=("one", "two"))
    _, after = greeted(gateway("org/m", diagnosis=diagnosis), capsys)
    assert after == "org/m did not load: There is no memory. Take less.\n    one\n    two\n"


def test_the_greeting_is_short_and_its_command_works(capsys: pytest.CaptureFixture[str]) -> None:
    """Address, models with states, what to do next; a model whose files are missing is no example."""
    before, _ = greeted(gateway("gone", "org/m", "b", *(f"more-{number}" for number in range(20))), capsys)
    first, models, rest, page = before.splitlines()
    # No secret goes into a file that keeps what is printed
    assert page == f"page: {URL}    sign in: llama-tandem open"
    assert first == f"llama-tandem is ready at {URL}/v1"
    assert models.startswith("models: gone (files missing), org/m (ready), b (loads on first request), more-0")
    assert models.endswith("and 11 more")
    assert rest.startswith("chat: llama-tandem chat org/m ") and f"{URL}/docs" in rest


def test_the_file_that_init_writes_is_a_whole_configuration(folder: Path) -> None:
    """It loads without an error, and serves one model."""
    path = write_example(Path("tandem.yaml"))
    assert path == folder / "tandem.yaml"
    settings = load_settings(path)
    assert Catalog(settings).names == ("HuggingFaceTB/SmolLM2-135M-Instruct",)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_every_example_in_that_file_holds(folder: Path) -> None:
    """Without its `#` each commented line is a setting or an entry that loads as well."""
    lines = write_example(Path("tandem.yaml")).read_text(encoding="utf-8").splitlines()
    bare = [re.sub(r"^( *)# ( *[\w/.-]+: *[^ ].*|[\w/.-]+:)$", r"\1\2", line) for line in lines[1:]]
    (folder / "all.yaml").write_text("\n".join(bare), encoding="utf-8")
    settings = load_settings(folder / "all.yaml")
    entries = settings.models
    assert list(entries)[1:] == ["tiny", "unsloth/GLM-4.7", "other"]
    glm = entries["unsloth/GLM-4.7"]
    assert isinstance(glm, LocalEntry) and glm.draft is not None and glm.draft.device == "CUDA0,CUDA1"
    assert isinstance(entries["other"], AttachedEntry)
    assert (settings.engine_port, settings.max_loaded, settings.memory) == (8001, 1, "auto")
    commented = [line for line in bare if re.match(r" *# +[\w/.-]+:", line)]
    assert commented == []


def test_a_file_that_cannot_be_written_is_named(folder: Path) -> None:
    """And nothing is overwritten."""
    with pytest.raises(ConfigError, match=r"no/tandem\.yaml: cannot be written: No such file"):
        write_example(Path("no/tandem.yaml"))
    (folder / "tandem.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_example(Path("tandem.yaml"))
    assert (folder / "tandem.yaml").read_text() == "mine"
