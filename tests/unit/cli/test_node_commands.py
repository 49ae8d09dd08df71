"""`node start` and `node ls` as a shell sees them: what is wrong, and what would be right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli import cli

TOKEN = ("--token", "file:token")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder with a token, and no settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TANDEM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("a token\n")
    (tmp_path / "blank").write_text("\n")
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["node", *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--head",), "A node needs the cluster's token: pass --token env:NAME or --token file:FILE"),
        (("--head", "--token", "a-secret"), "--token must be env:NAME or file:PATH, never the token itself"),
        (("--head", "--token", "env:NOT_THERE"), "--token the environment variable NOT_THERE holds no token"),
        (("--head", "--token", "file:nowhere"), "--token the file nowhere cannot be read: No such file or directory"),
        (("--head", "--token", "file:blank"), "--token the file blank holds no token"),
        (TOKEN, "Name the head to join with --join ADDRESS, or start a new cluster with --head"),
        (("--head", "--join", "10.0.0.1:6379", *TOKEN), "--head starts a new cluster and --join enters one"),
        (("--join", "http://10.0.0.1:6379", *TOKEN), "--join must be the address of the cluster's head, such as"),
        (("--join", "10.0.0.1:70000", *TOKEN), "--join must be the address of the cluster's head, such as"),
        (("--head", "--ports", "6400-6405", *TOKEN), "--ports needs 10 ports or more"),
        (("--head", "--ports", "all", *TOKEN), "--ports must be a range of ports"),
        (("--head", "--name", "box 1", *TOKEN), "--name 'box 1' must be letters, digits, dots and hyphens"),
        (("--head", "--name", "box*", *TOKEN), "--name 'box*' must be letters"),
        (("--head", "--address", "box1", *TOKEN), "--address 'box1' must be an IP address, such as 10.0.0.11"),
    ],
)
def test_a_wrong_option_is_told_with_what_is_right(words: tuple[str, ...], told: str) -> None:
    result = run("start", *words)
    said = " ".join(result.output.split())
    assert result.exit_code in (1, 2) and told in said, said
    assert "a-secret" not in said and "Traceback" not in said


def test_what_a_file_says_of_the_cluster_is_checked_too(folder: Path) -> None:
    (folder / "tandem.yaml").write_text(json.dumps({"cluster": {"address": "10.0.0.1", "token": "file:token"}}))
    result = run("start")
    assert result.exit_code == 1 and "cluster.address: must be the address" in result.output, result.output


def test_a_list_needs_a_cluster() -> None:
    result = run("ls")
    assert result.exit_code == 1 and "there is no cluster; set cluster" in result.output
