"""`presets:` of an entry, as written: names that are free, and keys that do something."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.settings import Settings, load_settings
from app.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, presets: str, more: str = "", others: str = "") -> Settings:
    text = f"models:\n  m:\n    target: m.gguf\n    presets: {presets}\n{more}{others}"
    (folder / "tandem.yaml").write_text(text)
    return load_settings()


def refused(folder: Path, presets: str, more: str = "", others: str = "") -> str:
    with pytest.raises(ConfigError) as raised:
        read(folder, presets, more, others)
    return str(raised.value)


def test_every_key_but_system_is_a_default(folder: Path) -> None:
    """Whatever it is called, and whatever JSON it holds."""
    written = "{thinking: {temperature: 1.0, system: 'Think.', chat_template_kwargs: {enable_thinking: true}}}"
    preset = read(folder, written).models["m"].presets["thinking"]
    assert preset.system == "Think."
    assert preset.defaults == {"temperature": 1.0, "chat_template_kwargs": {"enable_thinking": True}}


def test_a_system_message_may_have_lines(folder: Path) -> None:
    read(folder, '{thinking: {system: "One.\\nTwo."}}')
    assert "presets.x.system: must not be empty" in refused(folder, "{x: {system: ' '}}")
    assert "presets.x.system: must be text" in refused(folder, "{x: {system: [a]}}")


@pytest.mark.parametrize("name", ["plain", "draft", "ngram", "latest", "Latest", "PLAIN"])
def test_names_that_have_a_meaning_are_refused(folder: Path, name: str) -> None:
    message = refused(folder, f"{{{name}: {{seed: 1}}}}")
    assert f"models.m.presets.{name}: a preset may not be named {name}: MODEL:{name} has a meaning already" in message
    assert "tandem.yaml:4:" in message


@pytest.mark.parametrize(
    "name",
    [
        *("Q4_K_M", "q8_0", "UD-Q2_K_XL", "IQ2_XXS", "ud-iq1_s", "TQ1_0", "MXFP4_MOE", "MXFP4", "NVFP4", "BF16"),
        *("f16", "F32", "FP16", "fp32", "Q4_0_4_4", "Q6_K"),
    ],
)
def test_names_like_a_quantization_are_refused(folder: Path, name: str) -> None:
    assert f"a preset may not be named {name}, which looks like a quantization" in refused(folder, f"{{{name}: {{}}}}")


@pytest.mark.parametrize("name", ["thinking", "no-think", "v1.5", "q", "Q", "fast_4", "quick4", "BF", "plainly"])
def test_other_names_are_free(folder: Path, name: str) -> None:
    assert list(read(folder, f"{{{name}: {{}}}}").models["m"].presets) == [name]


@pytest.mark.parametrize("name", ["a:b", "a b", "a/b", "-a", "a,b", "''"])
def test_what_is_no_tag_is_refused(folder: Path, name: str) -> None:
    assert "a preset's name must be letters, digits" in refused(folder, f'{{"{name}": {{}}}}')


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("stream: true", "stream is not to be changed"),
        ("model: x", "model is not to be changed"),
        ("n_predict: 5", "write max_tokens for n_predict"),
        ("max_tokens: 0", "max_tokens: must be a whole number from 1 on"),
        ("seed: 2020-01-01", "cannot be sent as JSON"),
        ("temp: 1", "presets.x.temp: requests call it temperature"),
        ("ctx_size: 1", "presets.x.ctx_size: is the engine's, which all presets share"),
        ("defaults: {seed: 1}", "defaults: a preset's keys are defaults themselves"),
        ("fixed: {seed: 1}", "fixed: a preset's keys are defaults themselves"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(folder: Path, keys: str, words: str) -> None:
    assert words in refused(folder, f"{{x: {{{keys}}}}}")


@pytest.mark.parametrize(
    ("keys", "request_", "words"),
    [
        ("seed: 1", "fixed: {seed: 2}", "presets.x.seed: would do nothing, since request.fixed has it"),
        ("seed: 1", "drop: [seed]", "presets.x.seed: would do nothing, since request.drop has it"),
        ("max_tokens: 9", "max_tokens: 5", "presets.x.max_tokens: 9 is above the cap, request.max_tokens: 5"),
    ],
)
def test_what_the_entry_decides_is_not_a_presets(folder: Path, keys: str, request_: str, words: str) -> None:
    assert words in refused(folder, f"{{x: {{{keys}}}}}", f"    request: {{{request_}}}\n")


def test_a_name_means_one_model(folder: Path) -> None:
    """An entry, or an alias, may have the preset's name already; the place is that of the preset."""
    for others in ("  m:x: {target: o.gguf}\n", "  o: {target: o.gguf, aliases: ['m:x']}\n"):
        message = refused(folder, "{x: {seed: 1}}", others=others)
        assert "models.m.presets.x: 'm:x' is a preset of 'm' and a name of " in message
        assert "tandem.yaml:4:15" in message
    assert "'m:x' is a preset of 'm'" in refused(folder, "{x: {seed: 1}}", "    aliases: ['m:x']\n")


def test_all_models_may_get_a_preset(folder: Path) -> None:
    settings = read(folder, "{a: {seed: 1}}", others="  o: {url: 'http://x'}\ndefaults: {presets: {b: {seed: 2}}}\n")
    assert {name: list(entry.presets) for name, entry in settings.models.items()} == {"m": ["a", "b"], "o": ["b"]}
