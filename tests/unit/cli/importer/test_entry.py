"""Command lines of llama.cpp, of all years, as entries: each flag's fate, and the words about it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from app.cli.importer.entry import ImportedEntry, import_line
from app.config.model_entry import LocalEntry
from app.engine.dialect import Dialect
from app.engine.translate import translate
from app.errors import NotImportableError
from app.models.catalog import ModelSpec
from app.models.ref import ModelRef
from tests.support.paths import DATA

PAGES = DATA / "help"
NEW, OLD = (Dialect.from_help((PAGES / f"{name}.txt").read_text(encoding="utf-8")) for name in ("b11434", "2025-08"))
TARGET = "unsloth/GLM-4.7-GGUF/UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL-00001-of-00003.gguf"
DRAFT = "unsloth/GLM-4.5-Air-GGUF/UD-Q4_K_XL/GLM-4.5-Air-UD-Q4_K_XL-00001-of-00002.gguf"
RECIPE = (
    f"./llama-server --model {TARGET} --model-draft {DRAFT} --alias unsloth/GLM-4.7 --threads -1 --fit on --prio 3 "
    "--temp 1.0 --top-p 0.95 --ctx-size 16384 --ctx-size-draft 16384 --port 8001 --jinja --device CUDA0 "
    "--device-draft CUDA0,CUDA1"
)


def imported(line: str, dialect: Dialect | None = NEW) -> ImportedEntry:
    """Of a line after `llama-server -m m.gguf`, or of a whole one."""
    whole = line if "llama-" in line.partition("--")[0] else f"llama-server -m m.gguf {line}"
    return import_line(shlex.split(whole), dialect)


def keys(line: str, dialect: Dialect | None = NEW) -> dict[str, Any]:
    return {key: value for key, value in imported(line, dialect).keys.items() if key != "target"}


def notes_of(line: str, dialect: Dialect | None = NEW) -> str:
    return "\n".join(f"{note.key}: {note.text}" for note in imported(line, dialect).notes)


def refused(line: str, dialect: Dialect | None = NEW) -> str:
    with pytest.raises(NotImportableError) as refusal:
        imported(line, dialect)
    return str(refusal.value)


def launched(result: ImportedEntry, dialect: Dialect) -> str:
    """The command line that the printed YAML gives on a build."""
    ((name, written),) = yaml.safe_load(result.yaml)["models"].items()
    entry = LocalEntry.model_validate(written)
    draft = entry.draft.path if entry.draft else None
    assert entry.target.path is not None
    return shlex.join(
        translate(ModelSpec(ModelRef(name, entry), entry.target.path, draft, entry.chain or ()), dialect, 8001).argv
    )


@pytest.mark.parametrize("importer", [NEW, OLD, None])
@pytest.mark.parametrize("build", [NEW, OLD])
def test_the_recipe_comes_back_as_it_was(importer: Dialect | None, build: Dialect) -> None:
    """Every pair of its words stands in the launch, but for what the build does not know."""
    line = launched(imported(RECIPE, importer), build) + " "
    gone = {"--ctx-size-draft"} if build is NEW else {"--fit"}
    words = shlex.split(RECIPE)[1:]
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        if flag.startswith("--"):
            pair = flag if flag == "--jinja" else f"{flag} {value}"
            assert (f"{pair} " in line) == (flag not in gone), pair
    assert ("--spec-type draft-simple" in line) == (build is NEW)


def test_the_recipe_as_a_file() -> None:
    """In the order of the README, one line a key, ready to be a tandem.yaml."""
    entry = imported(RECIPE)
    assert entry.yaml == (
        "models:\n"
        "  unsloth/GLM-4.7:\n"
        f"    target: {{path: {TARGET}}}\n"
        f'    draft: {{path: {DRAFT}, device: "CUDA0,CUDA1", ctx_size: 16384}}\n'
        "    speculation: draft-simple\n"
        "    device: CUDA0\n"
        "    ctx_size: 16384\n"
        "    threads: -1\n"
        "    fit: on\n"
        "    prio: 3\n"
        "    jinja: true\n"
        "    temp: 1.0\n"
        "    top_p: 0.95\n"
    )
    said = {note.key.split()[0] for note in entry.notes}
    assert said == {"--model", "--model-draft", "--ctx-size-draft", "--port"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-c 4096 -np 2 -t 8", {"ctx_size": 4096, "parallel": 2, "threads": 8}),
        ("--ctx_size 1 --top_p 1", {"ctx_size": 1, "top_p": 1.0}),
        ("-fit off --no-jinja --temperature 0", {"fit": False, "jinja": False, "temp": 0.0}),
        ("-t 0", {"threads": -1}),
        ("-np -1", {}),
        ("-mm p.gguf", {"mmproj": {"path": "p.gguf"}}),
        (
            "-mmu https://hub.example/a/b/resolve/main/mmproj-F16.gguf",
            {"mmproj": {"repo": "a/b", "include": "mmproj-F16.gguf"}},
        ),
        ("--mmproj p.gguf --no-mmproj-offload", {"mmproj": {"path": "p.gguf"}, "args": ["--no-mmproj-offload"]}),
        ("-dev none --prio -1", {"device": "none", "prio": -1}),
        ("--ctx-size=4096", {"ctx_size": 4096}),
        ("-c 1 -c 2", {"ctx_size": 2}),
        ("-ngl 99 --no-warmup", {"args": ["-ngl", "99", "--no-warmup"]}),
        ("-tb -1 -ot -x.*=CPU", {"args": ["-tb", "-1", "-ot", "-x.*=CPU"]}),
        ("-ngl 1 -ngl 2 --lora a --lora b", {"args": ["-ngl", "2", "--lora", "a", "--lora", "b"]}),
        ("--mlock --no-mmap", {"args": ["--mlock", "--no-mmap"]}),
        ("--control-vector-layer-range 1 4", {"args": ["--control-vector-layer-range", "1", "4"]}),
        ("-n 512", {"args": ["-n", "512"]}),
    ],
)
def test_flags_have_keys_and_the_rest_are_args(line: str, expected: dict[str, Any]) -> None:
    """All spellings; values may begin with a dash; of two the last wins, unless llama.cpp adds them up."""
    assert keys(line) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--ctx-size=4096", "--ctx-size=: llama.cpp takes no equals sign"),
        ("-c 1 --ctx-size 2", "--ctx-size 2: overrides the earlier -c 1"),
        ("-ngl 1 -ngl 2", "-ngl 2: overrides the earlier -ngl 1"),
        ("--port 9", "--port 9: dropped: the gateway's: it listens on `port` of tandem.yaml"),
        ("--host 0.0.0.0", "set `host` in tandem.yaml"),
        ("-t 0", "threads: -1"),
        ("-np -1", "dropped: an entry without `parallel` has one slot"),
        ("--mlock", "--load-mode"),
        ("--no-such-flag 3", "unknown to this llama-server"),
        ("-devd CUDA1 -cd 1", "-cd 1: dropped: there is no draft model"),
        ("--ssl-key-file k", "plain HTTP"),
        ("--api-key k", "clients get theirs by `llama-tandem keys create`"),
        ("llama-server -hf a/b:Q8_0", "files below <models_dir>/a/b, which `llama-tandem pull` downloads"),
        ("-dr ai/smollm2", "-dr ai/smollm2: dropped: engines download nothing"),
        ("", "-m m.gguf: target, unchanged; a relative path starts at the folder of tandem.yaml"),
        ("", "m: named after the model's file"),
    ],
)
def test_what_became_something_else_is_told(line: str, words: str) -> None:
    """One line each; flags that only got a key are not worth one."""
    assert words in notes_of(line)
    assert "-c" not in [note.key for note in imported("-c 4096").notes]


def test_two_words_of_2025_are_one_for_builds_that_want_one() -> None:
    """b11434: `lora-scaled format: FNAME:SCALE`, and the second word would be an invalid argument."""
    line = "--lora-scaled a.gguf 0.5 --lora-scaled b.gguf:2"
    words = ["--lora-scaled", "a.gguf:0.5", "--lora-scaled", "b.gguf:2"]
    assert keys(line) == keys(line, None) == {"args": words}
    assert "--lora-scaled a.gguf 0.5: --lora-scaled a.gguf:0.5: one word since 2026" in notes_of(line)
    assert keys("--lora-scaled a.gguf 0.5", OLD) == {"args": ["--lora-scaled", "a.gguf", "0.5"]}


@pytest.mark.parametrize("line", ["--api-key s3cret", "--api-key=s3cret", "-hft s3cret"])
def test_a_key_is_dropped_and_never_shown(line: str) -> None:
    """Notes end up in terminals and in bug reports."""
    entry = imported(line)
    assert "s3cret" not in entry.yaml + notes_of(line) and "...: dropped" in notes_of(line)
    assert "s3cret" not in notes_of(f"LLAMA_API_KEY=s3cret llama-server -m m {line}")


def test_what_belongs_to_a_terminal_is_dropped() -> None:
    """A line of llama-cli or llama-speculative serves as well as one of llama-server."""
    line = 'llama-cli -m m.gguf -md d.gguf -i -cnv -p "Hello -c 3" -n 128 -f x.txt --color -co on -e -r User: --draft 8'
    assert keys(line) == {
        "draft": {"path": "d.gguf"},
        "speculation": {"mode": "draft-simple", "n_max": 8},
        "args": ["-e"],
    }
    assert "-n 128: dropped: llama-cli's own: here clients send max_tokens" in notes_of(line)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("-hf u/r-GGUF:Q4_K_M", {"repo": "u/r-GGUF", "include": "*Q4_K_M*"}),
        ("--hf-repo u/r", {"repo": "u/r", "include": "*Q4_K_M*"}),
        ("-hf u/r -hff d/x[1].gguf", {"repo": "u/r", "include": "d/x[[]1].gguf"}),
        ("-mu https://huggingface.co/u/r/resolve/main/x.gguf?download=1", {"repo": "u/r", "include": "x.gguf"}),
        ("-m here.gguf -hf u/r", {"path": "here.gguf"}),
        ("--model /m/x.gguf", {"path": "/m/x.gguf"}),
    ],
)
def test_where_the_model_lies(line: str, target: dict[str, str]) -> None:
    """Paths stay as they are, repositories are looked for below models_dir."""
    assert imported(f"llama-server {line}").keys["target"] == target


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("-m a.gguf --alias b,c -a d,b", ["b", "c", "d"]),
        (f"-m {TARGET}", ["GLM-4.7-UD-Q2_K_XL"]),
        ("-hf unsloth/GLM-4.7-GGUF:Q2", ["GLM-4.7"]),
        (r"-m 'C:\m\My model, v2.gguf'", ["My-model-v2"]),
        ("-m ---", ["model"]),
    ],
)
def test_the_entrys_name(line: str, names: list[str]) -> None:
    """The first alias, else the file's name as one that a client can send."""
    entry = imported(f"llama-server {line}")
    assert [entry.name, *entry.keys.get("aliases", [])] == names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-md d", "draft-simple"),
        ("-hfd u/d:Q8_0", "draft-simple"),
        ("-md d --spec-type none", "none"),
        ("-md d --draft-max 0", "none"),
        ("-md d --spec-draft-n-max 0 --spec-type draft-simple,ngram-mod", "ngram-mod"),
        ("-md d --draft-max 16 --draft-min 1", {"mode": "draft-simple", "n_max": 16, "n_min": 1}),
        ("-md d --draft-n 4 --draft 5 --draft-p-min .5", {"mode": "draft-simple", "n_max": 5, "p_min": 0.5}),
        ("-md d --spec-draft-sampling greedy", {"mode": "draft-simple", "sampling": "greedy"}),
        ("-md d --spec-type draft,ngram-mod", ["draft-simple", "ngram-mod"]),
        ("-md d --spec-type ngram-mod --spec-type eagle3", ["ngram-mod", "draft-eagle3"]),
        ("--spec-type draft-mtp", "draft-mtp"),
        ("--spec-default", {"mode": "ngram-mod", "n_match": 24, "n_min": 48, "n_max": 64}),
        ("--spec-default --spec-ngram-mod-n-max 50", {"mode": "ngram-mod", "n_match": 24, "n_min": 48, "n_max": 50}),
        ("--spec-type ngram-mod --draft-max 32", {"mode": "ngram-mod", "n_max": 32}),
        ("--spec-type ngram-map-k --spec-ngram-size-n 9", {"mode": "ngram-map-k", "size_n": 9}),
        ("--draft-max 16", None),
        ("", None),
    ],
)
def test_speculation_of_every_year(line: str, expected: Any) -> None:
    """In our vocabulary, with or without a word for the mode."""
    assert keys(line).get("speculation") == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-md d", "-md d: draft, with speculation: draft-simple, which a draft model alone meant until June 2026"),
        ("-md d", "up to 16 tokens in 2025"),
        ("-md d --draft-max 0", "draft-simple with drafts of 0 tokens is no speculation"),
        ("-md d --draft-max 9", "today's builds refuse --draft-max"),
        ("-md d --spec-type ngram-mod", "kept, but unused"),
        ("--draft-max 9", "dropped: no mode of this line takes it"),
        ("-md d --spec-type draft", "draft is called draft-simple now"),
    ],
)
def test_what_became_of_speculation_is_told(line: str, words: str) -> None:
    """What an old line meant without saying it, and what has a new name."""
    assert words in notes_of(line)


@pytest.mark.parametrize(
    ("line", "dialect", "args"),
    [
        ("-fa --no-warmup", NEW, ["-fa", "on", "--no-warmup"]),
        ("-fa auto", NEW, ["-fa", "auto"]),
        ("-fa on", OLD, ["-fa"]),
        ("-fa off", OLD, None),
        ("-fa", OLD, ["-fa"]),
        ("-fa", None, ["-fa"]),
        ("--new thing --other", None, ["--new", "thing", "--other"]),
    ],
)
def test_a_flag_that_got_a_value_over_the_years(line: str, dialect: Dialect | None, args: list[str] | None) -> None:
    """-fa was a switch in 2025; it is written as the build at hand wants it."""
    assert keys(line, dialect).get("args") == args


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("llama-server", "there is no model"),
        ("llama-server --model=", "needs a value"),
        ("llama-server -hff x.gguf", "needs -hf with its repository"),
        ("llama-server -mu http://there/x.gguf", "not a file on the Hub"),
        ("llama-server -hf norepo", "-hf norepo: "),
        ("-c many", "-c many: must be a whole number"),
        ("-c -5", "-c -5: must be at least 0"),
        ("-c 2 -np 4", "ctx_size 2 is shared by parallel 4 slots"),
        ("--temp nan", "must be a number"),
        ("--temp 1e999", "must be a number"),
        ("--top-p 2", "--top-p 2: must be at most 1"),
        ("--fit maybe", "must be on or off"),
        ("--prio 7", "--prio 7: "),
        ("--alias 'My Model'", "--alias My Model: a model's name must be"),
        ("--spec-type nothing", "unknown mode 'nothing'"),
        ("--spec-type draft-simple", "--model-draft is missing"),
        ("-md d --spec-type draft-simple,draft-mtp", "one draft mode at a time"),
        ("-md d --draft-max 2 --draft-min 5", "--draft-max 2, --draft-min 5: n_min 5 of draft-simple is above n_max 2"),
        ("-md d --draft-max -1", "--draft-max -1: n_max of draft-simple must be at least 1"),
        ("-md d --draft-p-min 1.5", "from 0 to 1"),
        ("-md d -devd ' '", "-devd  : must not be empty"),
    ],
)
def test_what_is_impossible_is_refused_with_its_flag(line: str, words: str) -> None:
    """Nothing is printed that would not load."""
    assert words in refused(line)
