"""The embedded engine's own table of flags: read like any binary's page, refused in llama-server's words."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.config.model_entry import LocalEntry
from app.config.speculation import PLAIN
from app.engine import embedded
from app.engine.diagnose import diagnose
from app.engine.dialect import Dialect
from app.engine.embedded_flags import FLAGS, InvalidFlagError, apply, help_page
from app.engine.translate import Translation, translate
from app.models.catalog import ModelSpec
from tests.support.paths import DATA

TABLE = Dialect.from_help(help_page())
NATIVE = Dialect.from_help((DATA / "help/embedded-2026.10.txt").read_text(encoding="utf-8"))
EVERYTHING = {
    "threads": -1,
    "fit": True,
    "prio": 3,
    "temp": 1.0,
    "top_p": 0.95,
    "ctx_size": 16384,
    "parallel": 2,
    "jinja": False,
}


class Params:
    """`xllamacpp.CommonParams`, where every field is there and numbers are C's."""

    def __init__(self) -> None:
        object.__setattr__(self, "written", {})

    def __getattr__(self, name: str) -> Any:
        if name not in self.written:
            self.written[name] = 0 if name == "user_sampling_config" else Params()
        return self.written[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise OverflowError("Python int too large to convert to C long")
        self.written[name] = value


class Kinds:
    """An enum of the wheel's that has every name but those with NOPE in them."""

    def __getattr__(self, name: str) -> str:
        if "NOPE" in name:
            raise AttributeError(name)
        return name


MODULE = SimpleNamespace(
    ggml_sched_priority=int,
    CommonAdapterLoraInfo=lambda path, scale: (path, scale),
    common_speculative_type=Kinds(),
    llama_flash_attn_type=Kinds(),
    ggml_type=Kinds(),
    llama_load_mode=Kinds(),
    common_reasoning_format=Kinds(),
    llama_pooling_type=Kinds(),
    __version__="2026.10",
)


def applied(*argv: str, **environ: str) -> Params:
    params = Params()
    apply(MODULE, params, argv, environ)
    return params


def refused(*argv: str, params: Any = None) -> str:
    with pytest.raises(InvalidFlagError) as caught:
        apply(MODULE, params or Params(), argv, {})
    return str(caught.value)


def translated(*, draft: dict[str, Any] | None = None, **keys: Any) -> Translation:
    files = None if draft is None else {"path": "/m/d.gguf", **draft}
    entry = LocalEntry.model_validate({"target": {"path": "/m/t.gguf"}, "draft": files, **keys})
    chain = entry.chain or PLAIN
    spec = ModelSpec("org/m", Path("/m/t.gguf"), None if draft is None else Path("/m/d.gguf"), entry, chain)
    return translate(spec, TABLE, 8001)


def test_the_page_says_of_every_flag_what_the_table_says() -> None:
    """Names, whether a value follows, and what is on by itself: however long the line is."""
    assert TABLE.flags >= {name for flag in FLAGS for name in flag.names} | {"--help", "--version"}
    assert TABLE.takes_value == {name for flag in FLAGS if flag.values for name in flag.names}
    assert TABLE.on_by_default >= {"--jinja", "--slots", "--warmup", "--ui"}
    assert not TABLE.on_by_default & {"--metrics", "--props", "--embedding", "--rerank"}


def test_no_name_stands_for_two_flags() -> None:
    """The second would silently win."""
    names = [name for flag in FLAGS for name in flag.names]
    assert len(names) == len(set(names))


def test_the_table_knows_nothing_that_llama_cpps_own_parser_does_not() -> None:
    """A plan for the table is a plan for the parser: same spellings, same values, same modes."""
    assert TABLE.flags <= NATIVE.flags
    assert TABLE.takes_value <= NATIVE.takes_value
    assert TABLE.load_modes == NATIVE.load_modes
    assert "draft-simple" in TABLE.speculation_modes <= NATIVE.speculation_modes


def test_a_plan_with_everything_is_taken_whole() -> None:
    """Each flag that a plan holds finds its field, the draft's among them."""
    options = {"mode": "draft-simple", "n_max": 8}
    plan = translated(draft={}, args=["--no-mmap", "--no-warmup"], speculation=options, **EVERYTHING)
    params = applied(*plan.argv)
    assert (params.model.path, params.model_alias) == ("/m/t.gguf", {"org/m"})
    assert (params.port, params.hostnames, params.n_parallel, params.n_ctx) == (8001, ["127.0.0.1"], 2, 16384)
    assert (params.use_jinja, params.ui, params.warmup, params.fit_params) == (False, False, False, True)
    assert params.cpuparams.n_threads > 0 and params.cpuparams.priority == 3
    assert (params.sampling.temp, params.sampling.top_p, params.sampling.user_sampling_config) == (1.0, 0.95, 64 | 4)
    assert params.speculative.draft.mparams.path == "/m/d.gguf"
    assert params.speculative.types == ["COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE"]
    assert params.speculative.draft.n_max == 8
    assert params.load_mode == "LLAMA_LOAD_MODE_NONE"


def test_what_the_table_cannot_say_is_told_before_a_start() -> None:
    """A draft's context is left out with a reason, as on every build of today."""
    assert "draft.ctx_size" in {note.key for note in translated(draft={"ctx_size": 4096}).notes}


@pytest.mark.parametrize("mode", sorted(NATIVE.load_modes))
def test_every_mode_of_loading_has_its_name_in_the_wheel(mode: str) -> None:
    """The wheel spells two of them otherwise."""
    names = {"mmap+mlock": "MMAP_MLOCK", "dio": "DIRECT_IO"}
    assert applied("--load-mode", mode).load_mode == f"LLAMA_LOAD_MODE_{names.get(mode, mode.upper())}"


def test_underscores_are_taken_for_dashes() -> None:
    """As llama.cpp's parser does, in names and never in values."""
    assert applied("--ctx_size", "64", "--slot_save_path", "/a_b").written == {"n_ctx": 64, "slot_save_path": "/a_b/"}


def test_the_key_comes_by_the_environment_unless_a_flag_says_otherwise() -> None:
    """The supervisor gives it in LLAMA_API_KEY, so that no list of processes shows it."""
    assert applied(LLAMA_API_KEY="a,b").api_keys == ["a", "b"]
    assert applied("--api-key", "c", LLAMA_API_KEY="a").api_keys == ["c"]
    assert applied(LLAMA_API_KEY="").written == {}


@pytest.mark.parametrize("word", ["--no-such-flag", "-zz", "stray", "--port=1", ""])
def test_an_unknown_flag_is_refused_in_llama_servers_words(word: str) -> None:
    """The diagnosis of a failed start is read off them."""
    words = refused("--model", "m", word)
    assert words == f"error: invalid argument: {word}"


def test_a_field_that_the_wheel_lacks_is_an_unknown_flag() -> None:
    """The table is for wheels other than the one that it was made for."""
    assert refused("--n-predict", "1", params=object()) == "error: invalid argument: --n-predict"


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--ctx-size", "many", "many"),
        ("--ctx-size", str(2**80), "too large"),
        ("--top-p", "x", "x"),
        ("--fit", "maybe", "unknown value: maybe"),
        ("--spec-type", "draft-simple,nope", "unknown speculative type: nope"),
        ("--load-mode", "nope", "unknown value: nope"),
        ("--chat-template-file", "/no/such/file", "No such file"),
    ],
)
def test_a_bad_value_names_its_flag(flag: str, value: str, words: str) -> None:
    """So the diagnosis can say which of the entry's values it was."""
    line = refused(flag, value)
    assert line.startswith(f'error while handling argument "{flag}": ') and words in line
    diagnosis = diagnose(1, [line])
    assert (diagnosis.code, diagnosis.permanent) == ("bad_value", True)
    assert flag in diagnosis.cause


def test_a_flag_at_the_end_without_its_value() -> None:
    """llama-server's words again."""
    assert refused("--model") == 'error while handling argument "--model": expected value for argument'


@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        (["--help"], 0, help_page(), ""),
        (["--model", "x", "-h"], 0, help_page(), ""),
        (["--version"], 0, "", "version: xllamacpp 2026.10\n"),
        (["--x"], 1, "", "error: invalid argument: --x\n"),
    ],
)
def test_exit_codes_and_streams_are_llama_servers(
    argv: list[str],
    code: int,
    out: str,
    err: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page on stdout with 0, a refusal on stderr with 1."""

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(embedded.os, "_exit", leave)
    with pytest.raises(SystemExit) as left:
        embedded._by_table(MODULE, Params(), argv)
    assert left.value.code == code
    said = capsys.readouterr()
    assert (said.out, said.err) == (out, err)
