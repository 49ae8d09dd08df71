"""`defaults:`, keys that every model gets."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.config.settings import load_settings
from app.errors import ConfigError
from tests.support.gateway import fake_llama_server, header_only


def loaded(folder: Path, text: str) -> dict[str, Any]:
    (folder / "tandem.yaml").write_text(text)
    return dict(load_settings().models)


def told(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return str(caught.value)


def test_they_are_merged_by_key(folder: Path) -> None:
    """Mappings by their keys, lists and values whole; null takes away, also a part of a mapping."""
    models = loaded(
        folder,
        "defaults:\n"
        "  ctx_size: 4096\n  threads: 4\n  args: [--no-warmup]\n  env: {A: '1', B: '2'}\n"
        "  request: {defaults: {temperature: 0.5, top_k: 3}, max_tokens: 100}\n"
        "models:\n"
        "  a: {target: x.gguf}\n"
        "  b:\n"
        "    target: x.gguf\n    ctx_size: 512\n    threads: null\n    args: []\n    env: {B: null, C: '3'}\n"
        "    request: {defaults: {top_k: null, seed: 1}}\n",
    )
    a, b = models["a"], models["b"]
    assert (a.ctx_size, a.threads, a.args, a.env) == (4096, 4, ("--no-warmup",), {"A": "1", "B": "2"})
    assert (b.ctx_size, b.threads, b.args, b.env) == (512, None, (), {"A": "1", "C": "3"})
    assert a.request.defaults == {"temperature": 0.5, "top_k": 3}
    assert b.request.defaults == {"temperature": 0.5, "seed": 1} and b.request.max_tokens == 100


def test_files_take_the_place_of_files(folder: Path) -> None:
    """An entry's own draft is no mixture of two; a draft's device is for entries that have a draft."""
    models = loaded(
        folder,
        "defaults: {draft: {repo: org/d, include: '*Q8*', device: CUDA1}, mmproj: {quantization: F16}}\n"
        "models:\n"
        "  a: {target: x.gguf}\n"
        "  b: {target: x.gguf, draft: d.gguf, mmproj: {repo: org/v}}\n"
        "  c: {target: x.gguf, draft: null}\n",
    )
    assert (models["a"].draft.repo, models["a"].draft.include, models["a"].mmproj) == ("org/d", "*Q8*", None)
    draft = models["b"].draft
    assert (draft.path, draft.repo, draft.include, draft.device) == (folder / "d.gguf", None, None, "CUDA1")
    assert models["b"].mmproj.quantization == "F16"
    assert models["c"].draft is None


def test_a_mode_comes_with_its_options(folder: Path) -> None:
    """What is to happen where it does not work is merged; the options of another mode are not."""
    models = loaded(
        folder,
        "defaults: {speculation: {mode: ngram-mod, n_max: 8, on_inert: fail}}\n"
        "models:\n"
        "  a: {target: x.gguf}\n"
        "  b: {target: x.gguf, speculation: none}\n"
        "  c: {target: x.gguf, speculation: {n_max: 16}}\n"
        "  d: {target: x.gguf, speculation: {on_inert: plain}}\n"
        "  e: {target: x.gguf, speculation: null}\n",
    )
    assert [models[name].speculation.on_inert for name in "abcde"] == ["fail", "fail", "fail", "plain", "plain"]
    chains = [models[name].chain for name in "abcde"]
    assert [[(step.mode, dict(step.options)) for step in chain] for chain in chains] == [
        [("ngram-mod", {"n_max": 8})],
        [],
        [("ngram-mod", {"n_max": 16})],
        [("ngram-mod", {"n_max": 8})],
        [],
    ]


def test_a_server_takes_what_it_has(folder: Path) -> None:
    """Keys of engines are skipped there, and keys of servers with engines."""
    models = loaded(
        folder,
        "defaults: {ctx_size: 4096, model: up, request: {drop: [top_k]}}\n"
        "models: {a: {url: 'http://x'}, b: {target: x.gguf}}\n",
    )
    assert models["a"].model == "up" and models["a"].request.drop == models["b"].request.drop == ("top_k",)
    assert models["b"].ctx_size == 4096


def test_null_is_a_key_left_out(folder: Path) -> None:
    """With defaults or without, for every key that may be left out."""
    (entry,) = loaded(folder, "models: {a: {target: x.gguf, parallel: null, args:, env:, request:}}").values()
    assert (entry.parallel, entry.args, entry.env, entry.request) == (1, (), {}, None)
    assert "models.a.target: is missing" in told(folder, "models: {a: {target: null}}")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("ctx_sze: 1", "tandem.yaml:1:12: defaults.ctx_sze: no such key; did you mean ctx_size?"),
        ("ctx_size: many", "tandem.yaml:1:22: defaults.ctx_size: must be a whole number, not 'many'"),
        ("args: [--port, 1]", "tandem.yaml:1:19: defaults.args: --port is the gateway's to choose"),
        ("draft: {divice: CUDA0}", "defaults.draft.divice: no such key; did you mean device?"),
        ("request: {defualts: {}}", "defaults.request.defualts: no such key; did you mean defaults?"),
        ("speculation: ngram", "defaults.speculation: unknown mode 'ngram'"),
        ("aliases: [x]", "defaults.aliases: belongs to each entry: an alias means one model"),
        ("url: http://x", "defaults.url: belongs to each entry: it makes an entry an attached server"),
        ("port: 1", "defaults.port: no such key here; port stands at the top of the file"),
    ],
)
def test_a_bad_one_is_told_once_at_its_place(written: str, words: str, folder: Path) -> None:
    """Whether models take it or not, and not again for each."""
    models = "models: {a: {target: x.gguf}, b: {target: y.gguf}}"
    for text in (f"defaults: {{{written}}}\n{models}", f"defaults: {{{written}}}\n"):
        message = told(folder, text)
        assert words in message
        assert len([line for line in message.splitlines() if not line.startswith(" ")]) == 1
    assert "defaults: must be a mapping of keys and values" in told(folder, f"defaults: [1]\n{models}")


def test_a_variable_holds_them_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, merged over the file's; what is wrong there is told of the variable."""
    monkeypatch.setenv("TANDEM_DEFAULTS", '{"threads": 2}')
    (entry,) = loaded(folder, "defaults: {ctx_size: 1024, threads: 1}\nmodels: {a: {target: x.gguf}}").values()
    assert (entry.ctx_size, entry.threads) == (1024, 2)
    monkeypatch.setenv("TANDEM_DEFAULTS", '{"threds": 2}')
    assert "environment: TANDEM_DEFAULTS.threds: no such key; did you mean threads?" in told(folder, "port: 5")


def test_plan_says_where_a_value_came_from(folder: Path) -> None:
    """Beside what was translated, on stderr; a part of a mapping by its name."""
    header_only(folder / "tiny.gguf")
    (folder / "tandem.yaml").write_text(
        f"llama_server: {fake_llama_server(folder)}\nstate_dir: state\ncache_dir: cache\n"
        "defaults:\n  ctx_size: 4096\n  env: {A: '1'}\n"
        "models:\n  a: {target: tiny.gguf, env: {B: '2'}, aliases: [other]}\n"
    )
    for name in ("a", "other", "a:plain"):
        result = CliRunner().invoke(cli, ["plan", name])
        assert result.exit_code == 0 and "--ctx-size 4096" in result.stdout
        assert "ctx_size: comes from defaults (tandem.yaml:5)\n" in result.stderr
        assert "env.A: comes from defaults (tandem.yaml:6)\n" in result.stderr
        assert "env.B" not in result.stderr and "target: comes" not in result.stderr
