"""Command lines as words: what stands before the program, who owns which word, and YAML that reads back."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.cli.importer.entry import ImportedEntry, import_line
from app.cli.importer.flags import ENV_SWITCHES, FLAGS, OPTIONAL, SCALED, flag_of, known
from app.config.model_entry import FILE_KEYS, LocalEntry
from app.config.reserved_flags import GATEWAY_FLAGS, RESERVED_FLAGS
from app.engine.dialect import Dialect, _entries
from app.errors import NotImportableError
from tests.support.paths import DATA

PAGES = {name: (DATA / "help" / f"{name}.txt").read_text(encoding="utf-8") for name in ("b11434", "2025-08")}
NEW, OLD = (Dialect.from_help(page) for page in PAGES.values())
RECIPE = (
    "./llama-server --model a/t.gguf --model-draft a/d.gguf --alias unsloth/GLM-4.7 --threads -1 --fit on --prio 3 "
    "--temp 1.0 --top-p 0.95 --ctx-size 16384 --ctx-size-draft 16384 --port 8001 --jinja --device CUDA0"
)


def imported(line: str, dialect: Dialect | None = NEW) -> ImportedEntry:
    return import_line(shlex.split(line), dialect)


def notes_of(entry: ImportedEntry) -> str:
    return "\n".join(f"{note.key}: {note.text}" for note in entry.notes)


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_agree_with_the_help_pages(page: str) -> None:
    """On who takes a value, and on what a variable stands for."""
    for entry in _entries(PAGES[page]):
        for name in entry.names:
            count = known(name).values
            if count is not None and count not in (OPTIONAL, SCALED):
                assert (count[1] > 0) == bool(entry.values), name
        for variable in re.findall(r"\(env: (LLAMA_\w+)\)", entry.text):
            flag = flag_of(variable)
            assert flag in entry.names, variable
            assert flag is not None
            assert (flag in ENV_SWITCHES) != bool(entry.values) or known(flag).values == OPTIONAL, variable


def test_no_flag_that_an_entry_refuses_can_become_an_argument() -> None:
    """Each has a place: a file, an option, a key, or none with a reason."""
    assert all(FLAGS[flag].dropped for flag in GATEWAY_FLAGS)
    for flag, key in RESERVED_FLAGS.items():
        slot = FLAGS[flag].slot
        assert (slot.partition(".")[0] in FILE_KEYS) == (key.partition(".")[0] in FILE_KEYS), flag
        assert ("/" in slot) == key.startswith("speculation: "), flag
        assert slot.partition(".")[0] in FILE_KEYS or "/" in slot or slot in (*LocalEntry.model_fields, "name"), flag


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("LLAMA_ARG_CTX_SIZE=4096 CUDA_VISIBLE_DEVICES=0", {"ctx_size": 4096, "env": {"CUDA_VISIBLE_DEVICES": "0"}}),
        ("LLAMA_ARG_JINJA=0", {"jinja": False}),
        ("LLAMA_ARG_NO_MMAP=1 LLAMA_ARG_MLOCK=0", {"args": ["--no-mmap"]}),
        ("LLAMA_ARG_THINK=none", {"args": ["--reasoning-format", "none"]}),
        ("LLAMA_ARG_FLASH_ATTN=1", {"args": ["--flash-attn", "1"]}),
        ("LLAMA_ARG_HOST=0.0.0.0 LLAMA_ARG_PORT=1", {}),
        ("LLAMA_ARG_WHAT=1", {"env": {"LLAMA_ARG_WHAT": "1"}}),
        ("LLAMA_ARG_SPEC_TYPE=ngram-mod", {"speculation": "ngram-mod"}),
        ("env -u X A=1", {"env": {"A": "1"}}),
        ("sudo -u llama A= nohup", {"env": {"A": ""}}),
    ],
)
def test_variables_before_the_program(line: str, expected: dict[str, Any]) -> None:
    """Those of llama.cpp are flags, the others the engine's environment."""
    entry = imported(f"{line} ./llama-server -m m.gguf")
    assert {key: value for key, value in entry.keys.items() if key != "target"} == expected


def test_a_flag_wins_over_its_variable_and_says_so() -> None:
    """As in llama.cpp."""
    entry = imported("LLAMA_ARG_CTX_SIZE=1 llama-server -c 2 -m m.gguf")
    assert entry.keys["ctx_size"] == 2
    assert "-c 2: overrides the earlier LLAMA_ARG_CTX_SIZE=1" in notes_of(entry)


def test_what_starts_the_program_is_skipped_with_a_note() -> None:
    """A container's paths are not this machine's."""
    assert "nohup nice -n 5: skipped" in notes_of(imported("nohup nice -n 5 ./main -m m.gguf"))
    docker = "docker run -v /m:/models -e A=1 -p 80:80 ghcr.io/ggml-org/llama.cpp:server-cuda -m /models/m.gguf -n 9"
    entry = imported(docker)
    assert entry.keys == {"target": {"path": "/models/m.gguf"}, "args": ["-n", "9"], "env": {"A": "1"}}
    assert "the container's" in notes_of(entry)


@pytest.mark.parametrize("program", ["llama-server.exe", "/opt/llama.cpp/server", "llama serve", "./my-build"])
def test_programs_by_any_name(program: str) -> None:
    """A name that says nothing is taken for llama.cpp's, and that is told."""
    entry = imported(f"{program} -m m.gguf")
    assert entry.keys == {"target": {"path": "m.gguf"}}
    assert ("assumed to be a program of llama.cpp" in notes_of(entry)) == (program == "./my-build")


def test_a_whole_line_in_quotes_is_read_as_a_shell_would() -> None:
    """As copied from a script: continued lines, a log, a background job."""
    line = "cd /x && A=1 ./llama-server \\\n  -m 'a b.gguf' -c 5 > log.txt 2>&1 &"
    entry = import_line([line], NEW)
    assert entry.keys == {"target": {"path": "a b.gguf"}, "ctx_size": 5, "env": {"A": "1"}}
    assert "> log.txt" in notes_of(entry) and "cd /x: skipped" in notes_of(entry)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no program"),
        ([""], "there is no program"),
        (["-m", "m.gguf"], "-m is not a program: begin with one"),
        (["A=1"], "there is no program"),
        (["sudo", "-u", "me"], "there is no program"),
        (["python3", "-m", "llama_cpp.server"], "python3 is not a program of llama.cpp"),
        (["ollama", "run", "llama3.2"], 'names are not the Hub\'s. Run "llama-tandem search llama3.2"$'),
        (["ollama run --verbose acme/smol:1b"], 'Run "llama-tandem search smol"$'),
        (["/usr/bin/ollama", "pull", "hf.co/acme/smol:Q4_K_M"], 'Run "llama-tandem pull acme/smol:Q4_K_M"$'),
        (["ollama", "serve"], 'this is an Ollama command. Run "llama-tandem init"'),
        (["llama-server", "m.gguf"], "'m.gguf' belongs to no flag; --model m.gguf?"),
        (["llama-server", "\N{EM DASH}model", "m.gguf"], "its dash is not a hyphen"),
        (["llama-server", "-c", "1", "2"], "'2' behind -c belongs to no flag"),
        (["llama-server", "--no-warmup", "2"], "behind --no-warmup belongs to no flag"),
        (["llama-server", "-m"], "-m: a value is missing"),
        (["llama-server", "-m", "--jinja"], "-m: a value is missing"),
        (["llama-server", "-m", "--ctx_size=3"], "-m: a value is missing"),
        (["llama-server", "--jinja=on"], "takes no value"),
        (["llama-server -m 'm.gguf"], "quotes do not match"),
        (["llama-server", "-m", "\udcff"], "not UTF-8"),
        (["LLAMA_ARG_JINJA=maybe", "llama-server"], "LLAMA_ARG_JINJA=maybe: must be on or off"),
        (["LLAMA_ARG_FLASH_ATTN=maybe", "llama-server"], "LLAMA_ARG_FLASH_ATTN=maybe: must be on, off or auto"),
    ],
)
def test_what_no_program_would_take_is_refused(words: list[str], said: str) -> None:
    """In words that name the place."""
    with pytest.raises(NotImportableError, match=said):
        import_line(words, NEW)


def test_texts_that_yaml_would_misread_are_quoted() -> None:
    """on, null, numbers, and what has a meaning in a flow mapping."""
    line = "A=on B=null llama-server -m 'a, {b}.gguf' --alias 1.5 -dev 'CUDA0, x' --grammar 'a: \"b\"\n\u2028'"
    entry = imported(line)
    ((name, written),) = yaml.safe_load(entry.yaml)["models"].items()
    assert (name, written) == (entry.name, entry.keys)
    assert 'env: {A: "on", B: "null"}' in entry.yaml and len(entry.yaml.splitlines()) == 6


WORDS = st.one_of(
    st.sampled_from(
        shlex.split(RECIPE) + shlex.split("-fa -hf u/r:Q4 -c --draft-max 0 5 -5 none --spec-type ngram-mod")
    ),
    st.sampled_from([*sorted(NEW.flags | OLD.flags), "A=1", "LLAMA_ARG_JINJA=1", "--temp=1e-05", "env", "llama-cli"]),
    st.text(),
)


@given(st.lists(WORDS, max_size=8), st.sampled_from([NEW, OLD, None]), st.booleans())
def test_any_words_give_an_entry_or_an_error(words: list[str], dialect: Dialect | None, whole: bool) -> None:
    """And what is printed is what was validated."""
    try:
        entry = import_line(words if whole else ["llama-server", "-m", "m.gguf", *words], dialect)
    except NotImportableError as error:
        assert str(error)
        return
    ((name, written),) = yaml.safe_load(entry.yaml)["models"].items()
    assert (name, written) == (entry.name, entry.keys)
    assert LocalEntry.model_validate(written).target
    assert all(note.key and note.text for note in entry.notes)
