"""What is wrong in tandem.yaml: all of it at once, each with its place, the line, a caret and what may be meant."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.config.settings import load_settings
from app.errors import ConfigError
from tests.support.gateway import fake_llama_server, header_only


def told(folder: Path, text: str) -> str:
    (folder / "tandem.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    return str(caught.value).replace(f"{folder}/", "")


def places(message: str) -> list[str]:
    return [line.partition(": ")[0] for line in message.splitlines() if not line.startswith(" ")]


def test_all_of_a_file_at_once(folder: Path) -> None:
    """Of every kind, from the top to the bottom; the caret stands under the value, or the key that is wrong."""
    message = told(
        folder,
        "prot: 8000\n"
        "queue_timeout: 5x\n"
        "models:\n"
        "  a:\n"
        "    target: {path: C:\\m\\x.gguf}\n"
        "    args: [-ngl, 99, --port, 1, -c, 5]\n"
        "    aliases: [b]\n"
        "  b:\n"
        "    target: x.gguf\n"
        "    pull: on_demnd\n"
        "    ctx_sze: 1\n"
        "    ctx_sze: 2\n"
        "  c: {url: 'http://x', api_key: 'env:NOT_SET'}\n",
    )
    expected = ("1:1", "2:16", "5:20", "6:22", "6:33", "7:15", "10:11", "12:5", "12:5", "13:33")
    assert places(message) == [f"tandem.yaml:{place}" for place in expected]
    words = "must be one of 'never' or 'on_demand', not 'on_demnd'; did you mean on_demand?"
    below = "    10 |     pull: on_demnd\n       |           ^\n"
    assert f"tandem.yaml:10:11: models.b.pull: {words}\n{below}" in message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ctx-size: 5", "did you mean ctx_size?"),
        ("Draft: x.gguf", "did you mean draft?"),
        ("speculation: draft_simple", "did you mean draft-simple?"),
        ("speculation: ngram_mod", "did you mean ngram-mod?"),
        ("speculation: {mode: ngram-mod, nmax: 5}", "did you mean n_max?"),
        ("speculation: {mode: ngram-mod, on_inert: fial}", "did you mean fail?"),
        ("pull: on-demand", "did you mean on_demand?"),
        ("port: 5", "port stands at the top of the file, not indented"),
    ],
)
def test_what_may_be_meant(written: str, meant: str, folder: Path) -> None:
    """Of keys, values, modes and their options; dashes, underlines and capitals are one."""
    assert meant in told(folder, f"models:\n  a:\n    target: x.gguf\n    {written}\n")


def test_a_key_of_a_model_at_the_top(folder: Path) -> None:
    assert "ctx_size belongs into a model's entry, or into defaults" in told(folder, "ctx_size: 5")
    assert "log_level: must be one of" in (message := told(folder, "log_level: warn")) and "mean warning?" in message


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: [1", "1:6", "what opens in line 1 is not closed"),
        ("host: 'x\nport: 1\n", "1:7", "what opens in line 1 is not closed"),
        ("models:\n\ta: 1", "2:1", "a tab; indent with spaces"),
        ("host: a: b", "1:8", "a colon too many"),
        ("models:\n  a:\n    x: 1\n   y: 2\n", "4:4", "the indentation fits nothing above"),
        ("host: @x", "1:7", "a value cannot begin with @; put it in quotes"),
        ("host: !env X", "1:7", "the tag !env has no meaning here"),
        ("host: 2024-13-45", "1:7", "put it in quotes if it is text"),
        ("port: 1\n- a\n", "2:1", "keys and list items side by side"),
        ('host: "a" b', "1:11", "text behind the end of a value"),
        ("port: 1\n---\nport: 2\n", "2:1", "--- begins a second document"),
        ("host: a\x00b", "1:8", "the character '\\x00' has no place in it"),
    ],
)
def test_what_is_no_yaml_is_told_without_its_jargon(text: str, place: str, words: str, folder: Path) -> None:
    message = told(folder, text)
    assert message.startswith(f"tandem.yaml:{place}: is not valid YAML: ") and words in message
    assert "scalar" not in message and "token" not in message and "^" in message


def test_a_file_that_is_nested_without_end(folder: Path) -> None:
    assert "is nested too deeply" in told(folder, "a: " + "[" * 50_000)


def test_a_long_line_is_cut_around_the_caret(folder: Path) -> None:
    """tandem.yaml may be JSON on one line."""
    entries = ", ".join(f'"m{number}": {{"url": "http://x"}}' for number in range(100))
    message = told(folder, f'{{"models": {{{entries}, "last": {{"urk": "http://x"}}}}}}')
    line, below = message.splitlines()[-2:]
    assert len(line) < 130 and line[below.index("^") :].startswith('"urk"')


def test_wide_characters_push_the_caret(folder: Path) -> None:
    """They take two columns of a terminal."""
    line, below = told(folder, "models: {模型: {url: 'http://x', foo: 1}}").splitlines()[1:]
    assert len(below) == line.index("foo") + 2 + 1


@pytest.mark.parametrize(
    "text",
    [
        "models: {a: {url: 'http://x', api_key: hush-hush, foo: 1}}",
        "api_keys: [hush-hush]\nfoo: 1",
        "models: {a: {url: 'http://x', api_key: hush-hush, foo: [}}",
        "api_keys: 'hush-hush, hush",
        "models: {a: {target: x, env: {HF_TOKEN: hush-hush}, foo: 1}}",
        "models: {a: {target: x, args: [--api-key, hush-hush]}}",
        "x-k: &k hush-hush\nmodels: {a: {url: 'ftp://x', api_key: *k}}\nx-l: 1",
    ],
)
def test_a_secret_in_the_line_is_not_shown(text: str, folder: Path) -> None:
    """Logs keep what a terminal forgets."""
    message = told(folder, text)
    assert "hush" not in message and "^" in message


def test_commands_print_it_as_it_is(folder: Path) -> None:
    """The line and the caret stand under what is wrong, without our name before them."""
    (folder / "tandem.yaml").write_text("models:\n  a: {target: x.gguf, foo: 1}\n")
    result = CliRunner().invoke(cli, ["check"])
    head, line, below = result.stderr.splitlines()
    assert result.exit_code == 1 and head.startswith(
        f"llama-tandem: {folder}/tandem.yaml:2:23: models.a.foo: no such key"
    )
    assert (line, below) == ("    2 |   a: {target: x.gguf, foo: 1}", "      |                       ^")


def test_init_does_not_stand_beside_another_spelling(folder: Path) -> None:
    """Two files would stop the next command."""
    (folder / "tandem.yml").write_text("port: 5\n")
    result = CliRunner().invoke(cli, ["init"])
    assert result.exit_code == 1 and "tandem.yml: exists already" in result.stderr


def test_a_flag_that_the_build_does_not_know(folder: Path) -> None:
    """`check` has the build's help at hand."""
    header_only(folder / "tiny.gguf")
    (folder / "tandem.yaml").write_text(
        f"llama_server: {fake_llama_server(folder)}\nstate_dir: state\ncache_dir: cache\n"
        "models: {a: {target: tiny.gguf, args: [--no-warmpu]}}\n"
    )
    result = CliRunner().invoke(cli, ["check"])
    assert result.exit_code == 1
    assert "does not know --no-warmpu; did you mean --no-warmup?" in result.stdout


def test_a_modes_options_have_places_of_their_own(folder: Path) -> None:
    """All of them, in a mapping, a list and a list within a mapping; the key where no such option is."""
    message = told(
        folder,
        "models:\n"
        "  a:\n"
        "    target: x.gguf\n"
        "    draft: d.gguf\n"
        "    speculation:\n"
        "      mode: draft-simple\n"
        "      n_max: 0\n"
        "      n_mux: 3\n"
        "  b:\n"
        "    target: x.gguf\n"
        "    draft: d.gguf\n"
        "    speculation: [{mode: draft-simple, p_min: 3}, {mode: ngram-mod, n_match: many}]\n"
        "  c: {target: x.gguf, speculation: {mode: [ngram-nod, ngram-simple]}}\n",
    )
    assert places(message) == [f"tandem.yaml:{place}" for place in ("7:14", "8:7", "12:47", "12:78", "13:44")]
    assert "models.a.speculation.n_max: n_max of draft-simple must be at least 1, not 0\n    7 |" in message


def test_what_depends_on_other_keys_is_told_beside_a_wrong_one(folder: Path) -> None:
    """As far as the keys that it depends on are right: of a wrong draft nobody knows whether it is missing."""
    message = told(
        folder,
        "models:\n"
        "  a: {target: x.gguf, temp: hot, ctx_size: 2, parallel: 4, speculation: draft-simple}\n"
        "  b: {target: x.gguf, draft: 5, speculation: draft-simple, pull: on_demand}\n"
        "  c: {speculation: draft-simple}\n",
    )
    assert places(message) == [f"tandem.yaml:{place}" for place in ("2:6", "2:6", "2:29", "3:30", "4:6", "4:6")]
    assert "models.a: ctx_size 2 is shared by parallel 4 slots" in message
    assert message.count("speculation needs a draft model") == 2
    assert "models.c.target: is missing" in message and "pull: on_demand takes" not in message


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("localhost:8000", "write host: localhost and port: 8000"),
        ("0.0.0.0:80", "write host: 0.0.0.0 and port: 80"),
        ("'[::1]:9000'", "write host: ::1 and port: 9000"),
        ("'[::1]'", "without brackets; write ::1"),
        ("http://127.0.0.1", "must be an address such as 127.0.0.1, and no URL"),
    ],
)
def test_a_host_is_an_address_and_no_more(folder: Path, host: str, words: str) -> None:
    """`localhost:8000` would be a name that nobody has."""
    message = told(folder, f"host: {host}\n")
    assert "tandem.yaml:1:7: host: must be an address" in message and words in message


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "'::'", "localhost", "fe80::1%eth0", "box.example"])
def test_a_host_that_is_one_stays(folder: Path, host: str) -> None:
    (folder / "tandem.yaml").write_text(f"host: {host}\n")
    assert load_settings().host == host.strip("'")
