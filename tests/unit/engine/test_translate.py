"""Entries in the words of three generations of llama-server."""

from pathlib import Path
from typing import Any

import pytest

from app.config.model_entry import LocalEntry
from app.config.speculation import MODES, PLAIN, drafts
from app.engine.dialect import Dialect
from app.engine.translate import Translation, translate
from app.errors import LaunchRefusedError
from app.models.catalog import ModelSpec
from app.models.ref import ModelRef
from tests.support.paths import DATA

PAGES = DATA / "help"
B11434 = (PAGES / "b11434.txt").read_text(encoding="utf-8")
AUGUST_2025 = (PAGES / "2025-08.txt").read_text(encoding="utf-8")
BETWEEN = Dialect.from_help((PAGES / "b9093.txt").read_text(encoding="utf-8"))
NEW, OLD = Dialect.from_help(B11434), Dialect.from_help(AUGUST_2025)
EMBEDDED = Dialect.from_help((PAGES / "embedded-2026.10.txt").read_text(encoding="utf-8"))
TARGET = Path("/m/GLM-4.7-UD-Q2_K_XL-00001-of-00003.gguf")
DRAFT = Path("/m/GLM-4.5-Air-UD-Q4_K_XL-00001-of-00002.gguf")
GLM: dict[str, Any] = {
    "device": "CUDA0",
    "ctx_size": 16384,
    "threads": -1,
    "fit": True,
    "prio": 3,
    "jinja": True,
    "temp": 1.0,
    "top_p": 0.95,
}


def translated(dialect: Dialect, *, draft: dict[str, Any] | None = None, port: int = 8001, **keys: Any) -> Translation:
    files = None if draft is None else {"path": DRAFT, **draft}
    entry = LocalEntry.model_validate({"target": {"path": TARGET}, "draft": files, **keys})
    chain = entry.chain or PLAIN
    spec = ModelSpec(
        ModelRef("unsloth/GLM-4.7", entry), TARGET, DRAFT if draft is not None and drafts(chain) else None, chain
    )
    return translate(spec, dialect, port)


def without(page: str, *heads: str) -> Dialect:
    """The page of a build that lacks the entries whose line begins so."""
    return Dialect.from_help("\n".join(line for line in page.splitlines() if not line.startswith(heads)))


def line(translation: Translation) -> str:
    return " ".join(translation.argv)


def noted(translation: Translation) -> set[str]:
    return {note.key for note in translation.notes}


def test_every_flag_of_the_recipe_keeps_its_place_on_b11434() -> None:
    """The GLM-4.7 entry gives the documented command line, with what turns the draft on."""
    translation = translated(NEW, draft={"device": "CUDA0,CUDA1", "ctx_size": 16384}, **GLM)
    assert line(translation) == (
        f"--model {TARGET} --model-draft {DRAFT} --spec-type draft-simple --alias unsloth/GLM-4.7 --threads -1 "
        "--fit on --prio 3 --temp 1.0 --top-p 0.95 --ctx-size 16384 --port 8001 --jinja --device CUDA0 "
        "--device-draft CUDA0,CUDA1 --host 127.0.0.1 --parallel 1 --no-ui"
    )
    assert noted(translation) == {"draft", "draft.ctx_size"}


def test_the_build_of_august_2025_takes_the_recipe_as_it_was_written() -> None:
    """There a draft's context is its own, --model-draft drafts by itself, and nothing fits itself to memory."""
    translation = translated(OLD, draft={"device": "CUDA0,CUDA1", "ctx_size": 16384}, **GLM)
    assert line(translation) == (
        f"--model {TARGET} --model-draft {DRAFT} --alias unsloth/GLM-4.7 --threads -1 --prio 3 --temp 1.0 "
        "--top-p 0.95 --ctx-size 16384 --ctx-size-draft 16384 --port 8001 --jinja --device CUDA0 "
        "--device-draft CUDA0,CUDA1 --host 127.0.0.1 --parallel 1 --slots --no-webui"
    )
    assert noted(translation) == {"fit"}


def test_the_embedded_engine_takes_the_same_command_line() -> None:
    """Its parser is llama.cpp's own, of a build close by."""
    assert translated(EMBEDDED, draft={"ctx_size": 16384}, **GLM) == translated(NEW, draft={"ctx_size": 16384}, **GLM)


def test_without_a_draft_no_flag_of_a_draft_is_left() -> None:
    """The same entry less its draft differs by the draft's flags alone, and needs no note."""
    translation = translated(NEW, **GLM)
    assert not [arg for arg in translation.argv if "draft" in arg or "spec" in arg]
    assert translation.notes == ()


def test_a_key_left_out_writes_nothing() -> None:
    """What an entry does not say is left to llama-server."""
    assert line(translated(NEW)) == (
        f"--model {TARGET} --alias unsloth/GLM-4.7 --port 8001 --host 127.0.0.1 --parallel 1 --no-ui"
    )


def test_newer_spellings_are_used_where_the_recipes_are_gone() -> None:
    """A build that knows only --spec-draft-model and --spec-draft-device gets these, with notes."""
    page = B11434.replace(", -md, --model-draft FNAME", " FNAME").replace(", -devd, --device-draft <", " <")
    translation = translated(Dialect.from_help(page), draft={"device": "CUDA1"})
    assert f"--spec-draft-model {DRAFT}" in line(translation)
    assert "--spec-draft-device CUDA1" in line(translation)
    assert {"draft", "draft.device"} <= noted(translation)


def test_spec_type_is_left_out_where_the_build_has_no_draft_simple() -> None:
    """A generation between knew --spec-type for n-grams only, and drafted whenever a draft was given."""
    page = B11434.replace("none,draft-simple,", "none,")
    translation = translated(Dialect.from_help(page), draft={})
    assert "--spec-type" not in translation.argv
    assert "draft" in noted(translation)


@pytest.mark.parametrize(
    ("heads", "keys"),
    [
        (("-c,    --ctx-size",), {"ctx_size": 4096}),
        (("-dev,  --device",), {"device": "CUDA0"}),
        (("-t,    --threads",), {"threads": 4}),
        (("--temp, --temperature",), {"temp": 0.5}),
        (("--top-p",), {"top_p": 0.5}),
        (("-np,   --parallel",), {}),
        (("-a,    --alias",), {}),
        (("--spec-draft-model",), {"draft": {}}),
        (("--spec-draft-device",), {"draft": {"device": "CUDA1"}}),
    ],
)
def test_what_changes_the_answer_is_refused_where_the_build_lacks_it(heads: tuple[str, ...], keys: Any) -> None:
    """Model, draft, device, context size, slots, threads and sampling are never dropped in silence."""
    with pytest.raises(LaunchRefusedError, match="llama-server has no"):
        translated(without(B11434, *heads), **keys)


def test_a_wish_to_the_operating_system_is_dropped_with_a_reason() -> None:
    """`prio` and `fit` do not change what is generated."""
    translation = translated(without(B11434, "--prio N", "-fit,"), prio=3, fit=False)
    assert not {"--prio", "--fit"} & set(translation.argv)
    assert noted(translation) == {"prio", "fit"}


@pytest.mark.parametrize(
    ("dialect", "jinja", "flags"),
    [(NEW, True, ["--jinja"]), (NEW, False, ["--no-jinja"]), (OLD, True, ["--jinja"]), (OLD, False, [])],
)
def test_jinja_is_said_where_there_is_a_word_for_it(dialect: Dialect, jinja: bool, flags: list[str]) -> None:
    """`jinja: false` needs no flag on a build where it is off by default."""
    assert [arg for arg in translated(dialect, jinja=jinja).argv if "jinja" in arg] == flags


def test_slots_are_asked_for_only_where_they_are_off() -> None:
    """/slots says whether drafting is on; August 2025 had it off by default."""
    assert "--slots" not in translated(NEW).argv
    assert "--slots" in translated(OLD).argv


@pytest.mark.parametrize(
    ("dialect", "args", "expected"),
    [
        (NEW, ["--no-mmap"], "--load-mode none"),
        (OLD, ["--no-ui"], "--no-webui"),
    ],
)
def test_renamed_flags_among_args_are_translated(dialect: Dialect, args: list[str], expected: str) -> None:
    """A flag that the build has under another name is written so, and the note says it."""
    translation = translated(dialect, args=args)
    assert line(translation).endswith(f" {expected}")
    assert noted(translation) >= {"args"}


@pytest.mark.parametrize(
    "args",
    [
        ["--no-warmup"],
        ["-ngl", "99"],
        ["--threads-batch", "-1"],
        ["--override-tensor", r"\.ffn_.*_exps\.=CPU"],
        ["--chat-template-kwargs", '{"enable_thinking": false}'],
        ["--control-vector-layer-range", "1", "4"],
    ],
)
def test_other_args_pass_as_they_are(args: list[str]) -> None:
    """Values may begin with a dash, hold spaces, or look like nothing in particular."""
    translation = translated(NEW, args=args)
    assert list(translation.argv[-len(args) :]) == args
    assert translation.notes == ()


def test_underscores_are_read_as_llama_server_reads_them() -> None:
    """llama.cpp's parser takes --cache_ram for --cache-ram."""
    assert line(translated(NEW, args=["--cache_ram", "5"])).endswith("--cache-ram 5")


def test_an_unknown_flag_among_args_is_refused_by_name() -> None:
    """Whoever writes a flag means it."""
    with pytest.raises(LaunchRefusedError, match="--no-such-flag"):
        translated(NEW, args=["--no-such-flag"])


def test_numbers_print_as_they_were_written() -> None:
    """No 1 for 1.0, and no exponents for usual values."""
    assert "--temp 1.0 --top-p 0.95" in line(translated(NEW, temp=1.0, top_p=0.95))


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        (["--mlock"], "mmap+mlock"),
        (["--no-mmap", "--mlock"], "mlock"),
        (["--mlock", "--no-mmap"], "mlock"),
        (["--mmap"], "mmap"),
        (["-dio"], "dio"),
    ],
)
def test_flags_of_loading_become_one_mode(flags: list[str], mode: str) -> None:
    """--mlock alone kept the mapping, and the old flags could be combined in any order (llama.cpp PR 26133)."""
    translation = translated(NEW, args=[*flags, "--no-warmup"])
    assert line(translation).endswith(f"--load-mode {mode} --no-warmup")
    assert translation.argv.count("--load-mode") == 1


def test_turning_off_what_is_off_needs_no_flag() -> None:
    """--no-direct-io of spring 2026, which b11434 does not know: without --load-mode dio there is none."""
    for flag in ("--no-direct-io", "-ndio"):
        translation = translated(NEW, args=[flag, "--mlock"])
        assert line(translation).endswith("--load-mode mmap+mlock")
        assert f"{flag} dropped: it is the default without --load-mode dio" in [note.text for note in translation.notes]


def test_flags_of_loading_stay_on_a_build_that_has_them() -> None:
    """August 2025 takes both."""
    assert line(translated(OLD, args=["--no-mmap", "--mlock"])).endswith("--no-mmap --mlock")


def test_flags_of_loading_that_contradict_are_refused() -> None:
    """Old and new words for one thing: nobody can say which is meant."""
    with pytest.raises(LaunchRefusedError, match="load-mode"):
        translated(NEW, args=["--mlock", "--load-mode", "none"])


def test_a_flag_with_an_equals_sign_is_refused_with_the_right_form() -> None:
    """llama-server has no --flag=value."""
    with pytest.raises(LaunchRefusedError, match="two arguments, --cache-ram and 16"):
        translated(NEW, args=["--cache-ram=16"])


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_named_on_b11434(mode: str) -> None:
    """All of llama-server's modes, and none that it does not have."""
    assert f"--spec-type {mode}" in line(translated(NEW, draft={}, speculation=mode))
    assert set(MODES) | {"none"} == NEW.speculation_modes


def test_a_chain_is_one_list() -> None:
    """llama-server chains modes that stand in one --spec-type, each with options of its own."""
    steps = [{"mode": "draft-simple", "n_max": 8, "p_min": 0.5}, {"mode": "ngram-map-k", "size_n": 10}]
    argv = line(translated(NEW, draft={}, speculation=steps))
    assert "--spec-type draft-simple,ngram-map-k" in argv
    assert "--spec-draft-n-max 8 --spec-draft-p-min 0.5 --spec-ngram-map-k-size-n 10" in argv


def test_draft_lengths_have_their_old_names_on_old_builds() -> None:
    """August 2025: --draft-max, --draft-min, --draft-p-min, and no word for the mode."""
    options = {"mode": "draft-simple", "n_max": 8, "n_min": 1, "p_min": 0.5}
    translation = translated(OLD, draft={}, speculation=options)
    assert "--draft-max 8 --draft-min 1 --draft-p-min 0.5" in line(translation)
    assert "--spec-type" not in translation.argv
    assert {"speculation.n_max", "speculation.n_min"} <= noted(translation)


def test_a_build_between_drafts_without_a_word_and_takes_one_n_gram_mode() -> None:
    """b9093, seen running: --model-draft drafts by itself, beside one --spec-type; two are refused at its start."""
    translation = translated(
        BETWEEN, draft={"ctx_size": 512}, speculation=[{"mode": "draft-simple", "n_max": 8}, "ngram-simple"]
    )
    assert f"--model-draft {DRAFT} --spec-type ngram-simple --spec-draft-n-max 8" in line(translation)
    assert "--ctx-size-draft 512" in line(translation)
    with pytest.raises(LaunchRefusedError, match="takes one of ngram-mod, ngram-simple"):
        translated(BETWEEN, speculation=["ngram-mod", "ngram-simple"])
    with pytest.raises(LaunchRefusedError, match="has no mode draft-mtp"):
        translated(BETWEEN, speculation="draft-mtp")


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "draft-simple"])
def test_a_mode_that_the_build_lacks_is_refused(mode: str) -> None:
    """It would decode plainly, or not start, and say nothing of use."""
    with pytest.raises(LaunchRefusedError, match=f"has no mode {mode}; it has only draft-simple"):
        translated(OLD, draft={}, speculation=mode)


@pytest.mark.parametrize("mode", ["none", "ngram-mod"])
def test_a_draft_that_is_not_used_is_not_loaded(mode: str) -> None:
    """Its flags would cost memory for nothing."""
    translation = translated(NEW, draft={"device": "CUDA1", "ctx_size": 512}, speculation=mode)
    assert not {"--model-draft", "--device-draft", "--ctx-size-draft"} & set(translation.argv)
    assert ("--spec-type" in translation.argv) == (mode == "ngram-mod")


@pytest.mark.parametrize("build", [NEW, OLD, BETWEEN, EMBEDDED])
def test_a_projector_goes_along_on_every_build(build: Dialect) -> None:
    """With its path; a build without multimodality is refused, since the entry asks for it."""
    entry = LocalEntry.model_validate({"target": {"path": TARGET}, "mmproj": {"path": "/m/p.gguf"}})
    spec = ModelSpec(ModelRef("m", entry), TARGET, None, mmproj=Path("/m/p.gguf"))
    assert "--mmproj /m/p.gguf --alias m " in line(translate(spec, build, 8001))
    with pytest.raises(LaunchRefusedError, match="mmproj: this llama-server has no --mmproj"):
        translate(spec, without(AUGUST_2025, "--mmproj "), 8001)
