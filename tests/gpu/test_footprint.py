"""A footprint worked out beforehand, against what llama-server reports of a real card, and what the driver sees."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.engine.devices import Device
from app.engine.footprint.estimate import estimate
from tests.support.architectures import WRITERS
from tests.support.more_architectures import MORE_WRITERS
from tests.support.nvidia import GPU, card_memory, report
from tests.support.ports import free_port

pytestmark = GPU
MIB = 1 << 20
PATIENCE_S = 120.0
# What the estimate may be wrong by
AT_LEAST, SHARE = 16 * MIB, 0.1

LINES = {
    "long": ["-c", "32768", "-np", "1"],
    "slots": ["-c", "32768", "-np", "4"],
    "shared": ["-c", "16384", "-np", "2", "-kvu"],
    "models-own": ["-np", "1"],
    "q8": ["-c", "32768", "-np", "2", "-ctk", "q8_0", "-ctv", "q8_0"],
    "no-flash": ["-c", "16384", "-np", "1", "-fa", "off"],
    "large-batch": ["-c", "16384", "-np", "1", "-ub", "2048"],
    "none": ["-c", "16384", "-np", "1", "-ngl", "0"],
    "half": ["-c", "16384", "-np", "1", "-ngl", "2"],
    "cache-on-host": ["-c", "16384", "-np", "1", "-nkvo"],
    "hidden": ["-c", "16384", "-np", "1", "--device", "none"],
}
# What these small models do on a card and no model of real size does: heads or states that no kernel is made for
SMALL_ONLY = {
    ("deepseek2", "q8"),
    ("granitehybrid", "cache-on-host"),
    *(("lfm2", line) for line in ("none", "half", "cache-on-host")),
}
CASES = [(name, line) for name in (*WRITERS, *MORE_WRITERS) for line in LINES if (name, line) not in SMALL_ONLY]
LARGE_LINES = {
    "long": ["-c", "32768", "-np", "1"],
    "slots": ["-c", "32768", "-np", "4"],
    "q8": ["-c", "65536", "-np", "2", "-ctk", "q8_0", "-ctv", "q8_0"],
    "half": ["-c", "32768", "-np", "1", "-ngl", "16"],
    "few": ["-c", "131072", "-np", "1", "-ngl", "4"],
    "none": ["-c", "8192", "-np", "1", "-ngl", "0"],
    "no-flash": ["-c", "32768", "-np", "1", "-fa", "off"],
}
Row = dict[str, Any]


@dataclass
class Reported:
    """The rows of each `fit_memory_breakdown`, in order, and what the driver saw once the engine was ready."""

    records: list[list[Row]] = field(default_factory=list)
    seen: int = 0
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)

    def sizes(self, models: int) -> Counter[str]:
        """Bytes by place, of the plans of `models` together."""
        assert len(self.records) >= models, self.log[-5:]
        sizes: Counter[str] = Counter({"host": 0})
        for row in (row for rows in self.records[:models] for row in rows):
            sizes["host" if row["kind"] == "host" else row["name"]] += row["self"] * MIB
        return sizes

    @property
    def last(self) -> Counter[str]:
        """The target alone, as it is at the end."""
        rows = self.records[-1]
        return Counter({"host" if row["kind"] == "host" else row["name"]: row["self"] * MIB for row in rows})


def run(binary: str, argv: Sequence[str]) -> Reported:
    """Loads a model, looks at the card, and ends the engine."""
    command = [binary, *argv, "--port", str(free_port()), "--host", "127.0.0.1", "--log-jsonl", "-t", "2"]
    reported, began = Reported(), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            reported.log.append(line.rstrip())
            if '"fit_memory_breakdown"' in line:
                reported.records.append(json.loads(line)["data"]["rows"])
            if "listening on" in line:
                reported.seconds = time.monotonic() - began
                reported.seen = card_memory().of([process.pid])
                process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    assert reported.seconds, reported.log[-10:]
    return reported


def assert_near(binary: str, card: Device, argv: Sequence[str], models: int = 1) -> None:
    footprint = estimate(["llama-server", *argv], [card])
    estimated, real = footprint.by_device(), run(binary, argv)
    planned = real.sizes(models)
    parts: dict[str, float] = {
        f"{part.whose} {part.use} {part.device}": round(part.size / MIB, 1) for part in footprint.parts
    }
    report(
        "footprint",
        estimated=in_mib(estimated),
        planned=in_mib(planned),
        loaded=in_mib(real.last),
        driver=round(real.seen / MIB),
        seconds=round(real.seconds, 2),
        parts=parts,
        rows=real.records[:models],
    )
    for place in {*estimated, *planned}:
        size, wanted = estimated.get(place, 0), planned[place]
        assert abs(size - wanted) <= max(AT_LEAST, SHARE * wanted), (place, in_mib(estimated), in_mib(planned))


def in_mib(sizes: dict[str, int] | Counter[str]) -> dict[str, float]:
    return {name: round(size / MIB, 1) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("architectures")
    return {name: write(folder / f"{name}.gguf") for name, write in (WRITERS | MORE_WRITERS).items()}


@pytest.mark.parametrize(("architecture", "line"), CASES)
def test_the_estimate_is_what_the_engine_reports(
    written: dict[str, Path], binary: str, card: Device, architecture: str, line: str
) -> None:
    # The encoder's weights of zero make its first step fail
    more = ["--embeddings", "--no-warmup"] if architecture == "bert" else []
    argv = ["-m", str(written[architecture]), *LINES[line], *more]
    assert_near(binary, card, argv)


@pytest.mark.parametrize("line", LARGE_LINES)
def test_a_model_of_real_size_is_estimated_as_well(large: Path, binary: str, card: Device, line: str) -> None:
    assert_near(binary, card, ["-m", str(large), *LARGE_LINES[line]])


@pytest.mark.parametrize("layers", [[], ["-ngld", "0"]], ids=["on-the-card", "on-the-host"])
def test_a_draft_is_estimated_with_its_target(
    large: Path, small: Path, binary: str, card: Device, layers: list[str]
) -> None:
    draft = ["-md", str(small), "--spec-type", "draft-simple", "--spec-draft-n-max", "8", *layers]
    assert_near(binary, card, ["-m", str(large), "-c", "16384", "-np", "1", *draft], models=2)
