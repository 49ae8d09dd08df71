"""`cluster` and `nodes` in the settings: forms that hold, and errors that name what is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.config.cluster import PortRange
from app.config.settings import Settings, load_settings, secrets_of
from app.errors import ConfigError

CLUSTER = {"address": "10.0.0.1:6379", "token": "env:CLUSTER_TOKEN"}


def load(folder: Path, **settings: Any) -> Settings:
    path = folder / "tandem.yaml"
    path.write_text(json.dumps(settings))
    return load_settings(path)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_TOKEN", "of the cluster")


def test_a_cluster_and_the_nodes_of_a_model(tmp_path: Path) -> None:
    settings = load(tmp_path, cluster=CLUSTER, models={"m": {"target": "m.gguf", "nodes": ["box*"]}})
    assert settings.cluster is not None
    assert (settings.cluster.engine_ports, settings.cluster.lease) == (PortRange(8100, 8199), 15)
    assert settings.cluster.token.get_secret_value() == "of the cluster" in secrets_of(settings)
    assert "of the cluster" not in repr(settings)
    more = load(tmp_path, cluster=CLUSTER | {"engine_ports": "9000-9001", "lease": "1m"})
    assert more.cluster is not None and (more.cluster.engine_ports, more.cluster.lease) == (PortRange(9000, 9001), 60)


def test_a_token_comes_from_a_file_too(tmp_path: Path) -> None:
    """Without the line's end."""
    (tmp_path / "token").write_text("in a file\n")
    settings = load(tmp_path, cluster=CLUSTER | {"token": f"file:{tmp_path / 'token'}"})
    assert settings.cluster is not None and settings.cluster.token.get_secret_value() == "in a file"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"token": "secret-of-mine"}, "must be env:NAME or file:PATH"),
        ({"token": ""}, "must be env:NAME or file:PATH"),
        ({"token": "env:"}, "must be env:NAME or file:PATH"),
        ({"token": "env:NOT_THERE"}, "the environment variable NOT_THERE holds no token"),
        ({"token": "file:/nonexistent/token"}, "the file /nonexistent/token cannot be read: No such file"),
        ({"token": None}, "must be env:NAME or file:PATH"),
        ({"address": "10.0.0.1"}, "such as 10.0.0.1:6379"),
        ({"address": "10.0.0.1:0"}, "such as 10.0.0.1:6379"),
        ({"address": "http://10.0.0.1:6379"}, "such as 10.0.0.1:6379"),
        ({"engine_ports": "8100"}, "such as 8100-8199"),
        ({"engine_ports": "8199-8100"}, "such as 8100-8199"),
        ({"engine_ports": "8100-70000"}, "such as 8100-8199"),
        ({"engine_ports": 8100}, "such as 8100-8199"),
        ({"lease": 1}, "5"),
        ({"lese": 1}, "did you mean lease"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, cluster: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(tmp_path, cluster=CLUSTER | cluster)
    assert words in str(told.value) and "cluster" in str(told.value)
    assert "secret-of-mine" not in str(told.value)


def test_a_missing_token_or_address_is_told(tmp_path: Path) -> None:
    for key in CLUSTER:
        with pytest.raises(ConfigError, match=f"{key}.* is missing"):
            load(tmp_path, cluster={name: value for name, value in CLUSTER.items() if name != key})


def test_nodes_need_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no cluster; set cluster, or leave nodes out"):
        load(tmp_path, models={"m": {"target": "m.gguf", "nodes": ["box*"]}})


def test_nodes_are_not_pulled_to(tmp_path: Path) -> None:
    entry = {"target": "org/repo:Q4_K_M", "pull": "on_demand", "nodes": ["box*"]}
    with pytest.raises(ConfigError, match="brings files to this machine only"):
        load(tmp_path, cluster=CLUSTER, models={"m": entry})
