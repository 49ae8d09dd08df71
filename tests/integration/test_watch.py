"""`watch: on`: the settings are applied when their file is saved, however an editor saves."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, eventually, header_only

Make = Callable[..., Gateway]


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Any]:
    entry = {"target": {"path": str(header_only(tmp_path / "model.gguf"))}}
    return {"a": entry, "b": entry}


def watching(gateway: Gateway) -> Gateway:
    eventually(lambda: gateway.logged("watching for changes"))
    return gateway


def test_a_saved_file_is_applied(make_gateway: Make, models: dict[str, Any]) -> None:
    """In place, and by another file in its place."""
    gateway = watching(make_gateway(watch=True, models={"a": models["a"]}))
    gateway.rewrite(models=models)
    eventually(lambda: gateway.chat("b").status_code == 200)
    new = gateway.config.with_suffix(".tmp")
    new.write_text(json.dumps(gateway.settings | {"models": {"a": models["a"]}}))
    new.replace(gateway.config)
    eventually(lambda: gateway.chat("b").status_code == 404)


def test_a_bad_file_is_told_and_a_good_one_applied_later(make_gateway: Make, models: dict[str, Any]) -> None:
    gateway = watching(make_gateway(watch=True, models={"a": models["a"]}))
    gateway.config.write_text("models: [")
    eventually(lambda: gateway.logged("reload refused"))
    assert gateway.chat("a").status_code == 200
    gateway.rewrite(models=models)
    eventually(lambda: gateway.chat("b").status_code == 200)


def test_other_files_and_the_same_contents_are_no_change(make_gateway: Make, models: dict[str, Any]) -> None:
    gateway = watching(make_gateway(watch=True, models={"a": models["a"]}))
    (gateway.folder / "notes.txt").write_text("nothing")
    gateway.rewrite()
    os.utime(gateway.config)
    gateway.rewrite(models=models)
    eventually(lambda: gateway.logged("reloaded"))
    assert gateway.logged("reloaded")[0]["added"] == ["b"]


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path, make_gateway: Make, models: dict[str, Any]) -> None:
    """As Kubernetes replaces a ConfigMap."""
    gateway = watching(make_gateway(watch=True, models={"a": models["a"]}))
    versions = [tmp_path / "versions" / number for number in ("1", "2")]
    for version in versions:
        version.mkdir(parents=True)
        (version / "tandem.yaml").write_bytes(gateway.config.read_bytes())
    gateway.config.unlink()
    gateway.config.symlink_to(versions[0] / "tandem.yaml")
    (versions[1] / "tandem.yaml").write_text(json.dumps(gateway.settings | {"models": models}))
    link = tmp_path / "link"
    link.symlink_to(versions[1] / "tandem.yaml")
    link.replace(gateway.config)
    eventually(lambda: gateway.chat("b").status_code == 200)


def test_the_file_of_the_environment_is_watched(make_gateway: Make, models: dict[str, Any]) -> None:
    gateway = watching(make_gateway(watch=True, models=models))
    (gateway.folder / ".env").write_text("TANDEM_MAX_BODY_MB=0.1\n")
    eventually(lambda: gateway.logged("reloaded"))
    assert gateway.chat("a", messages=[{"role": "user", "content": "x" * 200_000}]).status_code == 413


def test_watching_can_be_switched_while_it_runs(make_gateway: Make, models: dict[str, Any]) -> None:
    gateway = make_gateway(models={"a": models["a"]})
    gateway.reload(watch=True)
    watching(gateway)
    gateway.rewrite(models=models)
    eventually(lambda: gateway.chat("b").status_code == 200)
