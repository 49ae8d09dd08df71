"""A router's preset file as entries: what holds for all, what a section says, and what is not carried over."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from app.cli.importer.preset import ImportedPreset, import_preset, router_of
from app.config.model_entry import LocalEntry
from app.engine.dialect import Dialect
from app.errors import NotImportableError
from tests.support.paths import DATA

NEW = Dialect.from_help((DATA / "help" / "b11434.txt").read_text(encoding="utf-8"))


def imported(text: str, *flags: str, dialect: Dialect | None = NEW) -> ImportedPreset:
    return import_preset(["llama-server", "--models-preset", "m.ini", *flags], text, "m.ini", dialect)


def models(text: str, *flags: str, dialect: Dialect | None = NEW) -> dict[str, Any]:
    """The entries of the printed YAML, each of which the settings take."""
    written: dict[str, Any] = yaml.safe_load(imported(text, *flags, dialect=dialect).yaml)["models"]
    for entry in written.values():
        LocalEntry.model_validate(entry)
    return written


def notes(text: str, *flags: str) -> str:
    return "\n".join(f"{note.key}: {note.text}" for note in imported(text, *flags).notes)


WHOLE = """\
\ufeffversion = 1
; for all
[*]
c = 8192            ; a comment, as llama-server reads it
n-gpu-layers = 99
[org/vis-GGUF:Q8_0] # another
alias = vis,v
load-on-startup = true
[coder]
model = ./coder.gguf
LLAMA_ARG_CTX_SIZE = 32768
spec-draft-model = ./draft.gguf
spec-type = draft-simple
temp=0.2
"""


@pytest.mark.parametrize("dialect", [NEW, None])
def test_each_section_is_an_entry(dialect: Dialect | None) -> None:
    """Its name is what clients send; a section without a model's file is a repo of the Hub."""
    assert models(WHOLE, dialect=dialect) == {
        "org/vis-GGUF:Q8_0": {
            "target": {"repo": "org/vis-GGUF", "include": "*Q8_0*"},
            "ctx_size": 8192,
            "args": ["--n-gpu-layers", "99"],
            "aliases": ["vis", "v"],
        },
        "coder": {
            "target": {"path": "./coder.gguf"},
            "draft": {"path": "./draft.gguf"},
            "speculation": "draft-simple",
            "ctx_size": 32768,
            "temp": 0.2,
            "args": ["--n-gpu-layers", "99"],
        },
    }


def test_the_routers_own_flags_win() -> None:
    """As in llama-server; `--models-max` is `max_loaded`, and their notes come once."""
    preset = imported(WHOLE, "-c", "1024", "--models-max", "3", "--port", "9000")
    document = yaml.safe_load(preset.yaml)
    assert document["max_loaded"] == 3
    assert {entry["ctx_size"] for entry in document["models"].values()} == {1024}
    assert sum(note.key == "--port 9000" for note in preset.notes) == 1


@pytest.mark.parametrize(
    ("pair", "args"),
    [
        ("mlock = true", ["--mlock"]),
        ("mlock = false", None),
        ("mmap = off", ["--no-mmap"]),
        ("no-mmap = 0", ["--mmap"]),
        ("fa = on", ["-fa", "on"]),
        ("cache_type_k = q8_0", ["--cache-type-k", "q8_0"]),
        ("chat-template = x;y", ["--chat-template", "x"]),
        ("sleep-idle-seconds = 300", ["--sleep-idle-seconds", "300"]),
        ("LLAMA_ARG_N_GPU_LAYERS = 7", ["--n-gpu-layers", "7"]),
        ("rpc = host:1", ["--rpc", "host:1"]),
        ("ot = -x.*=CPU", ["-ot", "-x.*=CPU"]),
        ("no-mmproj = off", None),
        ("no-mmproj = on", ["--no-mmproj"]),
        ("no-host = off", None),
        ("lora-scaled = a.gguf\nno-warmup = on", ["--lora-scaled", "a.gguf", "--no-warmup"]),
    ],
)
def test_keys_are_flags(pair: str, args: list[str] | None) -> None:
    """Long or short, with on and off for switches."""
    assert models(f"[a]\nmodel = a.gguf\n{pair}\n")["a"].get("args") == args


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("load-on-startup = true", "[a] load-on-startup: dropped: a model is loaded on first request"),
        ("stop-timeout = 20", "[a] stop-timeout: dropped: `stop_grace`"),
        ("mlock = false", "[a] mlock = false: left out"),
        ("host = 0.0.0.0", "[a] --host 0.0.0.0: dropped: the gateway's"),
        ("api-key = secret", "[a] --api-key ...: dropped"),
        ("[b]\ntemp = 1", "[b]: left out: it names no model"),
        ("[two words]\nmodel = x.gguf", "[two words]: left out: "),
        ("[c]\nmodel = x.gguf\nmlock = maybe", "[c]: left out: mlock = maybe: must be on or off"),
        ("[c]\nmodel = x.gguf\nfa = maybe", "[c]: left out: fa = maybe: must be on, off or auto"),
        ("[c]\nmodel = x.gguf\nspec-replace = a", "[c]: left out: spec-replace = a: --spec-replace takes two values"),
        ("[c]\nmodel =", "[c]: left out: --model : needs a value"),
    ],
)
def test_what_is_not_carried_over_is_told(line: str, words: str) -> None:
    """By its section; the others become entries all the same."""
    told = notes(f"[a]\nmodel = a.gguf\n{line}\n")
    assert words in told and "secret" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a]\nmodel a.gguf\n", "m.ini:2: 'model a.gguf' is neither a [section] nor KEY = VALUE"),
        ("", "m.ini: it has no section for a model"),
        ("[*]\nc = 1\n", "m.ini: it has no section for a model"),
        ("[a]\nc = 1\n", "m.ini: [a]: left out: it names no model"),
    ],
)
def test_a_file_without_entries_says_why(text: str, words: str) -> None:
    with pytest.raises(NotImportableError) as refused:
        imported(text)
    assert words in str(refused.value)


def test_what_is_wrong_with_the_routers_own_line_is_said_once() -> None:
    """And not of each section."""
    with pytest.raises(NotImportableError) as refused:
        imported("[a]\nmodel = a.gguf\n[b]\nmodel = b.gguf\n", "--no-warmup", "1")
    assert str(refused.value).startswith("'1' behind --no-warmup belongs to no flag")


def test_a_section_keeps_its_name_beside_the_routers_alias() -> None:
    assert models("[a]\nmodel = a.gguf\n", "--alias", "b") == {"a": {"target": {"path": "a.gguf"}, "aliases": ["b"]}}


def test_variables_before_the_router_are_told_of_once() -> None:
    """They hold for all sections, and a section's own keys win."""
    text = "[a]\nmodel = a.gguf\nc = 5\n[b]\nmodel = b.gguf\n"
    words = ["LLAMA_ARG_CTX_SIZE=9", "CUDA_VISIBLE_DEVICES=0", "llama-server", "--models-preset", "m.ini"]
    preset = import_preset(words, text, "m.ini", NEW)
    assert [entry.keys["ctx_size"] for entry in preset.entries] == [5, 9]
    assert all(entry.keys["env"] == {"CUDA_VISIBLE_DEVICES": "0"} for entry in preset.entries)
    assert [note.key for note in preset.notes].count("LLAMA_ARG_CTX_SIZE=9") == 1


def test_how_many_stay_loaded_is_said_where_nobody_says_it() -> None:
    """The router's default is four; unlimited has no number here."""
    text = "[a]\nmodel = a.gguf\n"
    assert "the router kept up to 4 models loaded" in notes(text)
    assert imported(text, "--models-max", "0").max_loaded is None
    assert "--models-max 0" in notes(text, "--models-max", "0")


def test_the_file_is_named_by_the_line_in_every_form() -> None:
    """In words, in quotes, by its variable; other lines name none."""
    assert router_of(["llama-server", "--models-preset", "a.ini"]) == ("a.ini", None)
    assert router_of(["llama-server --models-preset a.ini -c 4096"]) == ("a.ini", None)
    assert router_of(["LLAMA_ARG_MODELS_PRESET=a.ini", "llama-server"]) == ("a.ini", None)
    assert router_of(["llama-server", "--models-dir", "m"]) == (None, "m")
    assert router_of(["llama-server", "-m", "m.gguf"]) == (None, None)
