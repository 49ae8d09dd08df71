"""Reports of lists that describe another model than the one that answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.tiny_models import CONTEXT, write_draft, write_target

TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if enable_thinking %}<think>{% endif %}"
)


def row(gateway: Gateway, name: str = "m") -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get(f"/v1/models/{name}").json()
    return found


def loaded(gateway: Gateway, name: str = "m") -> dict[str, Any]:
    assert gateway.chat(name, max_tokens=1).status_code == 200
    return row(gateway, name)


@pytest.mark.parametrize("flag", ["--chat-template-file", "--chat-template"])
def test_capabilities_are_those_of_the_template_in_use(
    serve: Callable[..., Gateway], models: dict[str, Path], tmp_path: Path, flag: str
) -> None:
    """The entry's own, before the start and after; Ollama's clients get its text."""
    (tmp_path / "tools.jinja").write_text(TOOLS)
    value = str(tmp_path / "tools.jinja") if flag.endswith("file") else TOOLS
    gateway = serve(m={"target": {"path": str(models["target"])}, "args": [flag, value]})
    expected = ["completion", "tools", "thinking"]
    assert row(gateway)["capabilities"] == expected
    assert loaded(gateway)["capabilities"] == expected
    assert gateway.client.post("/api/show", json={"model": "m"}).json()["template"] == TOOLS


def test_a_template_that_only_mentions_tools_takes_none(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """Once the engine is up, it is asked: a word in a comment is no tool."""
    template = "{# no tools here #}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    gateway = serve(m={"target": {"path": str(models["target"])}, "args": ["--chat-template", template]})
    assert loaded(gateway)["capabilities"] == ["completion"]


def test_without_jinja_there_are_no_tools(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """llama-server refuses them, whatever the file's template could."""
    target = {"path": str(models["target"])}
    gateway = serve(m={"target": target, "jinja": False, "args": ["--chat-template", "chatml"]})
    assert row(gateway)["capabilities"] == loaded(gateway)["capabilities"] == ["completion"]


@pytest.mark.parametrize(("args", "context"), [([], 256), (["--kv-unified"], 512)])
def test_context_is_a_slots(
    serve: Callable[..., Gateway], models: dict[str, Path], args: list[str], context: int
) -> None:
    """With one pool for all of them, each may take the whole."""
    gateway = serve(m={"target": {"path": str(models["target"])}, "parallel": 2, "ctx_size": 512, "args": args})
    assert row(gateway)["context_length"] == context
    found = loaded(gateway)
    assert found["context_length"] == found["max_model_len"] == found["meta"]["n_ctx"] == context


@pytest.mark.parametrize("what", ["replaced", "deleted"])
def test_a_file_that_changed_under_its_engine_changes_nothing_that_runs(
    serve: Callable[..., Gateway], tmp_path: Path, what: str
) -> None:
    """The row is of the old one, and says so; the next start is of what is there."""
    model, other = write_target(tmp_path / "m.gguf"), write_draft(tmp_path / "other.gguf")
    gateway = serve(m={"target": {"path": str(model)}})
    before = loaded(gateway)
    assert "file_changed" not in before
    if what == "deleted":
        model.unlink()
    else:
        shutil.move(other, model)
    after = row(gateway)
    assert f"m.gguf was {what} since the engine was started" in after.pop("file_changed")
    assert after == before and after["meta"]["n_ctx_train"] == CONTEXT and after["state"] == "ready"
    assert gateway.chat(max_tokens=1).status_code == 200
    assert gateway.client.post("/api/show", json={"model": "m"}).json()["model_info"]["general.architecture"] == "llama"
