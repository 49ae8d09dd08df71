"""Completion as a person has it: a real bash in a terminal, Tab, and what then stands there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.hub_models import model
from tests.support.paths import ROOT

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")
PROMPT = "READY>"


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    """One that has read the program's completion, in a folder with models."""
    folder = tmp_path / "models" / "acme" / "Tiny-GGUF"
    folder.mkdir(parents=True)
    for name in ("Q4_K_M", "Q8_0"):
        (folder / f"tiny-{name}.gguf").write_bytes(model())
    (tmp_path / "tandem.yaml").write_text(
        "models: {org/glm: {target: acme/Tiny-GGUF:Q8_0}, org/gemma: {url: http://x}}"
    )
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program = bin_folder / "llama-tandem"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n')
    program.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if not key.startswith("TANDEM_")}
    env |= {"PATH": f"{bin_folder}:{env['PATH']}", "PS1": PROMPT, "TERM": "dumb", "HOME": str(tmp_path)}
    env |= {"XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    shell = pexpect.spawn(
        str(BASH), ["--norc", "-i"], cwd=str(tmp_path), env=env, encoding="utf-8", timeout=30, dimensions=(40, 200)
    )
    shell.delaybeforesend = None
    shell.expect_exact(PROMPT)
    shell.sendline('eval "$(llama-tandem --show-completion bash)"; echo "$?" done')
    shell.expect_exact("0 done")
    shell.expect_exact(PROMPT)
    yield shell
    shell.close(force=True)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("llama-tandem relo", "llama-tandem reload "),
        ("llama-tandem chat org/gl", "llama-tandem chat org/glm "),
        ("llama-tandem check org/ge", "llama-tandem check org/gemma "),
        ("llama-tandem stop org/gl", "llama-tandem stop org/glm "),
        ("llama-tandem run acme/Tiny-GGUF:Q4", "llama-tandem run acme/Tiny-GGUF:Q4_K_M "),
        ("llama-tandem run acme/Tiny-GGUF:Q8_0 --draft acme/Tiny-GGUF:Q4", ":Q8_0 --draft acme/Tiny-GGUF:Q4_K_M "),
        ("llama-tandem verify acme/Tiny-GGUF:Q8", "llama-tandem verify acme/Tiny-GGUF:Q8_0 "),
    ],
)
def test_tab_completes(typed: str, completed: str, bash: pexpect.spawn[str]) -> None:
    """Commands, names with slashes, and quantizations behind a colon, which ends a word of bash's."""
    bash.send(f"{typed}\t")
    bash.expect_exact(completed)


@pytest.mark.parametrize(
    ("typed", "listed"), [("run acme/Tiny-GGUF:Q", "Q4_K_M +Q8_0"), ("chat org/g", "org/gemma +org/glm")]
)
def test_tab_twice_lists_what_there_is(typed: str, listed: str, bash: pexpect.spawn[str]) -> None:
    """Behind a colon the quantizations alone."""
    bash.send(f"llama-tandem {typed}\t\t")
    bash.expect(rf"\r\n *{listed}")


def test_names_of_keys_are_completed(bash: pexpect.spawn[str]) -> None:
    """Not the secrets."""
    bash.sendline("llama-tandem keys create --name laptop; echo made")
    bash.expect_exact("made")
    bash.expect_exact("made")
    bash.send("llama-tandem keys revoke lap\t")
    bash.expect_exact("revoke laptop ")
