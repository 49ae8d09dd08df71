"""A service is started from another folder: paths in `args` start from tandem.yaml's, like all others."""

import os
from pathlib import Path

import pytest

from app.cli.importer.entry import import_line
from app.config.model_entry import LocalEntry
from app.config.settings import load_settings
from app.errors import ConfigError
from tests.support.gateway import eventually


def args(text: str) -> tuple[str, ...]:
    Path("deep").mkdir(exist_ok=True)
    Path("deep/tandem.yaml").write_text(text)
    entry = load_settings(Path("deep/tandem.yaml")).models["a"]
    assert isinstance(entry, LocalEntry)
    return entry.args


def test_they_start_from_the_files_folder(folder: Path) -> None:
    """Short forms, lists, scales, `--flag=value`, folders with their slash; values of other flags stay."""
    deep = folder / "deep"
    assert args(
        "models: {a: {target: x.gguf, args: [--lora, 'a.gguf,/b.gguf', -lcs, c.bin, --chat-template-file=ok.jinja, "
        "--lora-scaled, 'd.gguf:0.5', --slot-save-path, ./slots/, -ngl, 99, --chat-template, chatml]}}"
    ) == (
        *("--lora", f"{deep}/a.gguf,/b.gguf", "-lcs", f"{deep}/c.bin", f"--chat-template-file={deep}/ok.jinja"),
        *("--lora-scaled", f"{deep}/d.gguf:0.5", "--slot-save-path", f"{deep}/slots/"),
        *("-ngl", "99", "--chat-template", "chatml"),
    )


def test_the_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell sees `args`."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert args("models: {a: {target: x.gguf, args: [--lora, ~/a.gguf]}}") == ("--lora", f"{folder}/home/a.gguf")


def test_those_of_defaults_and_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable has no folder: its paths start from the working folder."""
    text = "defaults: {args: [--lora, a.gguf]}\nmodels: {a: {target: x.gguf}}"
    assert args(text) == ("--lora", f"{folder}/deep/a.gguf")
    monkeypatch.setenv("TANDEM_MODELS", '{"a": {"target": "x.gguf", "args": ["--lora", "e.gguf"]}}')
    assert args("port: 5") == ("--lora", f"{folder}/e.gguf")


def test_paths_that_lead_nowhere_are_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.a\.args: \$HOME/t\.jinja: variables such as"):
        args("models: {a: {target: x.gguf, args: [--chat-template-file, $HOME/t.jinja]}}")
    with pytest.raises(ConfigError, match=r"under WSL it is /mnt/c/t\.jinja"):
        args("models: {a: {target: x.gguf, args: [--chat-template-file, 'C:\\t.jinja']}}")


def test_import_says_what_holds() -> None:
    """Of `-m` it did, of the rest it did not."""
    imported = import_line(["llama-server", "-m", "/m/x.gguf", "--lora", "l.gguf", "--grammar-file", "/g"])
    notes = {note.key: note.text for note in imported.notes}
    assert "a relative path starts at the folder of tandem.yaml" in notes["--lora l.gguf"]
    assert "--grammar-file /g" not in notes


def test_an_engine_finds_them_from_another_folder(make_gateway, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The command line of the engine holds absolute paths, wherever the gateway was started."""
    folder = tmp_path / "gateway-0"
    folder.mkdir()
    (folder / "chat.jinja").write_text("{{ messages }}")
    gateway = make_gateway(args=["--chat-template-file", "chat.jinja"])
    assert gateway.chat().status_code == 200
    (pid,) = eventually(lambda: gateway.engines)
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert words[words.index(b"--chat-template-file") + 1] == os.fsencode(gateway.folder / "chat.jinja")
