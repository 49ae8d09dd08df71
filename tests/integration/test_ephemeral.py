"""Models that a running gateway gets by its admin API: they answer, outlive a reload, and end with the gateway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, eventually, header_only

Make = Callable[..., Gateway]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(header_only(tmp_path / "models" / "model.gguf"))


@pytest.fixture
def gateway(make_gateway: Make, model: str, tmp_path: Path) -> Gateway:
    return make_gateway(models={"a": {"target": {"path": model}}}, models_dir=str(tmp_path / "models"))


def add(gateway: Gateway, alias: str, headers: dict[str, str] | None = None, **entry: Any) -> httpx2.Response:
    return gateway.client.post("/admin/models", json={"alias": alias, **entry}, headers=headers or gateway.admin)


def names(gateway: Gateway) -> list[str]:
    return [row["id"] for row in gateway.client.get("/v1/models").json()["data"]]


def test_it_answers_until_it_is_removed(gateway: Gateway) -> None:
    added = add(gateway, "new", target="model.gguf", ctx_size=512, request={"defaults": {"temperature": 0}})
    assert (added.status_code, added.json()["warnings"]) == (201, [])
    assert names(gateway) == ["a", "new"] and gateway.chat("new").status_code == 200
    assert gateway.chat("new:plain").status_code == 200
    listed = gateway.client.get("/admin/models", headers=gateway.admin).json()["data"]
    assert [(row["alias"], row["entry"]["ctx_size"]) for row in listed] == [("new", 512)]
    assert gateway.client.delete(added.headers["location"], headers=gateway.admin).status_code == 204
    assert names(gateway) == ["a"] and gateway.chat("new").status_code == 404
    eventually(lambda: not [row for row in _engines(gateway) if row["alias"].startswith("new")])


def _engines(gateway: Gateway) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return rows


def test_a_reload_keeps_it_with_its_engine(gateway: Gateway, model: str) -> None:
    add(gateway, "new", target="model.gguf")
    gateway.chat("new")
    engines = gateway.engines
    assert gateway.reload()["removed"] == []
    gateway.reload(models={"a": {"target": {"path": model}}, "b": {"target": {"path": model}}})
    assert names(gateway) == ["a", "b", "new"] and gateway.engines == engines


def test_the_settings_win_over_it(gateway: Gateway, model: str) -> None:
    """An entry of its name that is written later takes its place, and that is told."""
    add(gateway, "new", target="model.gguf")
    told = gateway.reload(models={"new": {"target": {"path": model}}})["warnings"]
    assert told == ["new is now in the settings, which replace the temporary model"]
    assert names(gateway) == ["new"]
    assert gateway.client.delete("/admin/models/new", headers=gateway.admin).status_code == 400


@pytest.mark.parametrize("alias", ["a", "a:plain", "a:latest", "other"])
def test_a_name_that_exists_is_a_conflict(alias: str, make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": {"target": {"path": model}, "aliases": ["other"]}})
    answer = add(gateway, alias, target="org/repo")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_exists")
    assert alias in answer.json()["error"]["message"]


def test_only_the_gateways_own_user_gives_flags_variables_and_paths(gateway: Gateway, tmp_path: Path) -> None:
    """A browser with the right key may add what lies below models_dir, and nothing else."""
    elsewhere = str(header_only(tmp_path / "elsewhere.gguf"))
    privileged: list[dict[str, Any]] = [
        {"target": elsewhere},
        {"target": "model.gguf", "args": ["--no-mmap"]},
        {"target": "model.gguf", "env": {"A": "b"}},
    ]
    browser = gateway.admin | {"origin": gateway.url}
    for entry in privileged:
        refused = add(gateway, "new", browser, **entry)
        assert refused.status_code == 403 and "browser" in refused.json()["error"]["message"]
    assert add(gateway, "by-page", browser, target="model.gguf").status_code == 201
    for number, entry in enumerate(privileged):
        assert add(gateway, f"new-{number}", **entry).status_code == 201, entry


def test_what_cannot_start_is_added_with_a_warning(gateway: Gateway) -> None:
    """Its files may be on their way."""
    answer = add(gateway, "new", target="org/repo:Q4_K_M")
    assert answer.status_code == 201 and "new cannot start" in answer.json()["warnings"][0]


def test_what_is_wrong_changes_nothing(gateway: Gateway) -> None:
    """A 400 names it, a 404 the model that is none; without a key nobody comes in."""
    wrong = add(gateway, "new", target="model.gguf", ctx_size="big")
    assert wrong.status_code == 400 and "ctx_size: must be a whole number" in wrong.json()["error"]["message"]
    assert add(gateway, "new", {"x": "y"}, target="model.gguf").status_code == 401
    assert gateway.client.delete("/admin/models/new", headers=gateway.admin).status_code == 404
    assert gateway.client.post("/admin/models", json=["x"], headers=gateway.admin).status_code == 400
    assert names(gateway) == ["a"]
