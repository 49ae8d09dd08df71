"""The JSON schema of tandem.yaml takes what the gateway takes, and refuses what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from app.cli.example import write_example
from app.config.document import read_document
from app.config.schema import SCHEMA_NAME, tandem_schema
from app.config.settings import Settings, load_settings
from app.config.speculation import MODES
from app.errors import ConfigError
from tests.support.paths import ROOT

VALIDATOR = Draft202012Validator(tandem_schema())
MODEL = "models: {m: {target: models/tiny.gguf}}\n"
GOOD = [
    *("watch: on", 'watch: "on"', "watch: true", "no_auth: off"),
    *("ttl: 90", "ttl: 90s", "ttl: 1h30m", 'ttl: "1 h 30 min"', "ttl: 0", "ttl: 1.5h", 'ttl: "90"', "max_wait: 500ms"),
    *("max_body_mb: 8GiB", "max_body_mb: 64", 'max_body_mb: "500 kB"', "max_body_mb: 0.5"),
    *("allowed_hosts: a.example,b.example", "allowed_hosts: [a.example, b.example]", "allowed_hosts: []"),
    *("port: 0", "log_level: debug", "x-long: &long {anything: [1]}", "defaults: {threads: 8, draft: {device: CUDA1}}"),
    *("defaults: {threads: null, speculation: {on_inert: fail}}", "defaults: {request: {drop: [top_k]}}"),
]
BAD = [
    *("watch: maybe", "watch: 2", "ttl: 90x", "ttl: -1", "ttl: 30m1h", "ttl: [1]", "ttl: on", "max_wait: 0"),
    *("max_body_mb: 0", "max_body_mb: 8Gi", "max_body_mb: big", "allowed_hosts: [1]", "allowed_hosts: {a: b}"),
    *("port: 65536", "port: -1", "port: many", "prot: 8000", "log_level: loud", "max_loaded: 0", "host: [a]"),
    *("defaults: {aliases: [a]}", "defaults: {url: 'http://a'}", "defaults: {thread: 8}", "defaults: {threads: 0}"),
]
GOOD_ENTRIES = [
    *(
        "target: models/tiny.gguf",
        "target: ./tiny.bin",
        "target: ORG/REPO",
        "target: ORG/REPO:Q4_K_M",
        "target: hf:O/R",
    ),
    *("target: {path: a.gguf}", "target: {repo: O/R, include: '*Q4*'}", "target: {repo: O/R, quantization: Q4_K_M}"),
    *("target: {package: some_package}", "target: a.gguf\ndraft: b.gguf", "target: a.gguf\nmmproj: null"),
    *("target: a.gguf\ndraft: {path: b.gguf, ctx_size: 8, device: CUDA1}", "url: http://127.0.0.1:9001"),
    *("url: http://a:1\napis: [responses]\napi_key: secret\nmodel: b", "target: a.gguf\nfit: on\nthreads: -1"),
    *("target: a.gguf\nargs: [-b, 512, '--flash-attn', 'on']", "target: a.gguf\nenv: {A: 1, B: two}"),
    *("target: O/R:Q4_0\nttl: 5m\npin: off\npull: on_demand", "target: a.gguf\naliases: [b]\npriority: -5"),
    "target: a.gguf\nrequest: {defaults: {temperature: 0.7}, max_tokens: 5, fixed: {seed: 1}, drop: [top_k]}",
    "target: a.gguf\npresets: {thinking: {temperature: 1.0, system: Think.}}",
    *(f"target: a.gguf\ndraft: b.gguf\nspeculation: {mode}" for mode in (*MODES, "auto", "none", "off")),
    "target: a.gguf\ndraft: b.gguf\nspeculation: {mode: draft-simple, n_max: 8, p_min: 0.5, sampling: greedy}",
    "target: a.gguf\nspeculation: {mode: ngram-mod, n_max: 8, on_inert: fail}",
    "target: a.gguf\ndraft: b.gguf\nspeculation: [{mode: draft-simple, n_max: 8}, ngram-mod]",
    "target: a.gguf\ndraft: b.gguf\nspeculation: {mode: [draft-simple, ngram-mod], on_logprobs: plain, force: on}",
    "target: a.gguf\ndraft: b.gguf\nspeculation: {on_inert: fail}",
]
BAD_ENTRIES = [
    *("target: tiny", "target: https://huggingface.co/O/R", "target: {}", "target: {path: a.gguf, repo: O/R}", "{}"),
    *("target: {path: a.gguf, include: x}", "target: {file: a.gguf}", "target: [a.gguf]", "draft: b.gguf"),
    *("target: {repo: O/R, include: x, quantization: Q4}", "target: {repo: R}", "target: 5", "target: null"),
    *("url: 127.0.0.1:9001", "url: http://a\ntarget: a.gguf", "url: http://a\nctx_size: 5", "url: http://a\napis: [x]"),
    *(
        "target: a.gguf\nthreads: 0",
        "target: a.gguf\nprio: 4",
        "target: a.gguf\ntop_p: 2",
        "target: a.gguf\nctx_size: 8k",
    ),
    *(
        "target: a.gguf\nargs: -b 5",
        "target: a.gguf\nargs: [[a]]",
        "target: a.gguf\nargs: [on]",
        "target: a.gguf\nenv: {1a: b}",
    ),
    *("target: a.gguf\naliases: [-a]", "target: a.gguf\naliases: ['a b']", "target: a.gguf\ndevice: ''"),
    *(
        "target: a.gguf\nspeculation: draft-simpel",
        "target: a.gguf\nspeculation: []",
        "target: a.gguf\nspeculation: on",
    ),
    *("target: a.gguf\nspeculation: {n_max: 8}", "target: a.gguf\nspeculation: {mode: ngram-mod, p_min: 0.5}"),
    "target: a.gguf\nspeculation: {mode: ngram-mod, n_max: 0}",
    "target: a.gguf\ndraft: b.gguf\nspeculation: [{mode: draft-simple, on_inert: fail}]",
    "target: a.gguf\nspeculation: {mode: auto, n_max: 8}",
    "target: a.gguf\nrequest: {max_tokens: 0}",
    "target: a.gguf\nrequest: {max: 5}",
]


def _entry(text: str) -> str:
    return yaml.safe_dump({"models": {"m": yaml.safe_load(text)}})


def _loads(path: Path) -> bool:
    try:
        load_settings(path)
    except ConfigError:
        return False
    return True


def _is_valid(path: Path) -> bool:
    """Merge keys resolved and anchors kept, as an editor reads a file."""
    return VALIDATOR.is_valid(read_document(path).settings)


def test_defaults_of_sizes_and_times_are_written_with_units() -> None:
    """As a person would write them, and equal to the setting's own default."""
    properties = tandem_schema()["properties"]
    written = {key: properties[key]["default"] for key in ("conversations", "memory_margin")}
    assert written == {"conversations": {"disk": "8GiB", "keep": "24h"}, "memory_margin": "1GiB"}
    settings, plain = Settings.model_validate(written), Settings.model_validate({})
    assert (settings.conversations, settings.memory_margin) == (plain.conversations, plain.memory_margin)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(tandem_schema())


@pytest.mark.parametrize("text", [*(MODEL + text for text in GOOD), *map(_entry, GOOD_ENTRIES)])
def test_it_takes_what_the_gateway_takes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tandem.yaml"
    path.write_text(text)
    assert _loads(path)
    assert _is_valid(path), list(VALIDATOR.iter_errors(read_document(path).settings))


@pytest.mark.parametrize("text", [*(MODEL + text for text in BAD), *map(_entry, BAD_ENTRIES)])
def test_it_refuses_what_the_gateway_refuses(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tandem.yaml"
    path.write_text(text)
    assert not _loads(path)
    assert not _is_valid(path)


def test_defaults_may_complete_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "tandem.yaml"
    path.write_text(
        "defaults: {target: {repo: O/R}}\nmodels: {m: {ctx_size: 8}, n: {target: {include: '*Q4*'}, ctx_size: null}}"
    )
    assert _loads(path)
    assert _is_valid(path)


def test_every_setting_and_key_has_a_description() -> None:
    schema = tandem_schema()
    parts = [schema, *(schema["$defs"][name] for name in ("LocalEntry", "AttachedEntry", "Filters", "Preset"))]
    parts += [schema["$defs"][name]["anyOf"][1] for name in ("Files", "DraftFiles")]
    assert set(schema["properties"]) == set(Settings.model_fields)
    for part in parts:
        for key, value in part["properties"].items():
            assert value.get("description"), key


def test_examples_and_defaults_are_valid_themselves() -> None:
    """Of each key of the settings and of entries."""
    schema = tandem_schema()
    tried = 0
    for part in (schema, schema["$defs"]["LocalEntry"], schema["$defs"]["AttachedEntry"]):
        for key, value in part["properties"].items():
            of_key = Draft202012Validator({**value, "$defs": schema["$defs"]})
            for example in [*value.get("examples", ()), *([value["default"]] if "default" in value else ())]:
                assert of_key.is_valid(example), (key, example)
                tried += 1
    assert tried > 60


def test_the_first_file_names_its_schema(tmp_path: Path) -> None:
    """`init` writes both, and an editor finds one by the other."""
    path = write_example(tmp_path / "tandem.yaml")
    named = re.search(r"^# yaml-language-server: \$schema=(\S+)$", path.read_text(), re.MULTILINE)
    assert named is not None and named[1] == SCHEMA_NAME
    assert (tmp_path / named[1]).read_text().startswith("{")
    assert _is_valid(path)


def _examples() -> list[Any]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{at}")
        for page in pages
        for at, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    ]


@pytest.mark.parametrize("block", _examples())
def test_examples_of_the_documentation_are_valid(tmp_path: Path, block: str) -> None:
    """A block that is indented is a part of an entry; a key that it shows twice is shown in two ways."""
    path = tmp_path / "tandem.yaml"
    for text in _ways(block):
        path.write_text(text)
        document = read_document(path)
        assert document.problems == ()
        assert list(VALIDATOR.iter_errors(document.settings)) == []


def _ways(block: str) -> list[str]:
    if not block.startswith(" "):
        return [block]
    head = "models:\n  m:\n    target: a.gguf\n    draft: b.gguf\n"
    lines = block.splitlines(keepends=True)
    if all(line.startswith("    speculation:") for line in lines):
        return [head + line for line in lines]
    return [head + block]
