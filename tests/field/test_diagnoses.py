"""What only a load shows, by real engines: causes in words, permanent where they cannot change by themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.conftest import ENGINES
from tests.field.test_check_agrees import write_adapter
from tests.support.gateway import Gateway, eventually
from tests.support.tiny_models import write_target

Make = Callable[..., Gateway]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("template", "jinja", "words"),
    [
        ("{% for m in messages %}{{ m.content }{% endfor %}", True, "The chat template does not parse: "),
        ("{{ messages[0].content }}", False, "The chat template needs jinja"),
    ],
)
def test_a_template_that_cannot_be_used_is_named_at_once(
    make_gateway: Make, tmp_path: Path, engine: str, template: str, jinja: bool, words: str
) -> None:
    """One try: no other would end differently."""
    (tmp_path / "t.jinja").write_text(template)
    args = ["--chat-template-file", str(tmp_path / "t.jinja")]
    entry = {"target": {"path": str(write_target(tmp_path / "t.gguf"))}, "jinja": jinja, "args": args}
    gateway = make_gateway(models={"m": entry}, llama_server=ENGINES[engine])
    error = gateway.chat().json()["error"]
    if engine == "embedded" or jinja:
        # The parser may end the process before the log's thread has written where the template is wrong: the wheel's
        # always does, the binary's does on a busy machine. What it writes is tested in unit/engine.
        words = "chat template"
    assert error["cause"] == "chat_template" and words in error["message"]
    assert gateway.state() == "fatal" and "exit code" not in error["message"]
    (tmp_path / "t.jinja").write_text("{{ messages[0].content }}{# mended #}" if jinja else "chatml <|im_start|>")
    eventually(lambda: gateway.chat(max_tokens=1).status_code == 200)


def test_an_adapter_that_comes_later_ends_fatal(make_gateway: Make, tmp_path: Path) -> None:
    """Nobody has to restart the gateway for it."""
    late = tmp_path / "late.gguf"
    entry = {"target": {"path": str(write_target(tmp_path / "t.gguf"))}, "args": ["--lora", str(late)], "ctx_size": 256}
    gateway = make_gateway(models={"m": entry}, llama_server=ENGINES.get("binary", "embedded"))
    error = gateway.chat().json()["error"]
    assert error["cause"] == "missing_file" and f"--lora names {late}, which does not exist" in error["message"]
    write_adapter(tmp_path / "made.gguf")
    shutil.move(tmp_path / "made.gguf", late)
    assert gateway.chat(max_tokens=1).status_code == 200


def test_tools_without_jinja_are_a_400_in_words_of_the_entry(make_gateway: Make, tmp_path: Path) -> None:
    """SDKs send a 500 three times."""
    entry = {"target": {"path": str(write_target(tmp_path / "t.gguf"))}, "jinja": False}
    gateway = make_gateway(models={"m": entry}, llama_server=ENGINES.get("binary", "embedded"))
    function = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    answer = gateway.chat(tools=[{"type": "function", "function": function}], max_tokens=1)
    assert answer.status_code == 400 and "jinja: true in its entry" in answer.json()["error"]["message"]
