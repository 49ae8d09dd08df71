"""`kill -9` of a pull, wherever: the next one ends with the right bytes and reads little again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest

from app.models.disk.layout import FileLocation
from app.models.download.journal import FileVersion
from app.models.download.partial import received_of
from tests.support.fake_hub import FakeHub
from tests.support.fake_hub.repos import File
from tests.support.puller import PIECES
from tests.support.soak import rounds

ROOT = Path(__file__).parents[2]
BLOCK, WORKERS = 1 << 13, 2
CONTENT = os.urandom(BLOCK * 40 + 77)
# Every block is received in pieces, written and journaled; then come a truncate, a sync, a rename and the record.
CALLS = 41 * (PIECES + 2) + 12


def _kills(random: Random) -> Iterator[tuple[int, bool]]:
    for _ in range(random.randint(1, 4)):
        yield random.randint(1, CALLS), random.random() < 0.5


# (the call at which it dies, whether half of that call is done)
Kill = tuple[int, bool]

KILLS: dict[str, list[Kill]] = {
    "before-the-first-byte": [(1, False)],
    "amid-the-pieces-of-a-block": [(2, False), (3, False)],
    "in-the-write-of-a-block": [(4, True), (4, False), (8, True)],
    "in-the-line-of-a-block": [(5, True), (5, False), (10, True)],
    "half-way": [(CALLS // 2, False), (CALLS // 4, True)],
    "around-the-end": [(CALLS - 14, True), (8, False), (4, False), (3, False)],
    "around-the-rename": [(CALLS - 10, False), (6, False), (5, False), (4, False)],
    "again-and-again": [(50, True), (50, False), (37, True), (23, True)],
}


@pytest.mark.parametrize(
    "order",
    [*KILLS.values(), *(list(_kills(Random(seed))) for seed in range(4))],
    ids=[*KILLS, *(f"seed-{seed}" for seed in range(4))],
)
def test_after_any_number_of_kills_the_bytes_are_right_and_little_is_read_again(
    order: list[Kill], tmp_path: Path
) -> None:
    """Kills amid a block's pieces, in a write, between a block and its line, before the sync, around the rename.

    Each costs one block a range in flight at most: whatever had arrived whole is never asked for again.
    """
    _killed(order, tmp_path)


@pytest.mark.soak
def test_kills_at_random_calls_cost_as_little(tmp_path: Path) -> None:
    """Up to four of them, for as long as the soak lasts."""
    for number, random in enumerate(rounds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        _killed(list(_kills(random)), folder)
        shutil.rmtree(folder)


def _killed(order: list[Kill], folder: Path) -> None:
    with FakeHub() as hub:
        repo = hub.add("org/m", {"m.gguf": File(CONTENT)})
        identity = FileVersion("org/m", "m.gguf", repo.head, f"sha256:{File(CONTENT).sha256}", len(CONTENT))
        place = FileLocation(folder / "models", "org/m", "m.gguf")
        url = f"{hub.bytes_url}/org/m/{repo.head}/m.gguf"
        counted, died = folder / "counted", 0
        for kill_at, torn in [*order, (None, False)]:
            if place.final.exists():
                break
            kept = set(found.received) if (found := received_of(place)) else set()
            hub.fetched.clear()
            died += _run(folder, identity, url, kill_at, torn, counted)
            asked = {n for a in hub.fetched for n in range((a.start or 0) // BLOCK, -(-(a.stop or 0) // BLOCK))}
            assert not asked & kept
        assert place.final.read_bytes() == CONTENT
        received = sum(int(line) for line in counted.read_text().split())
        assert len(CONTENT) <= received <= len(CONTENT) + died * WORKERS * BLOCK


def _run(folder: Path, identity: FileVersion, url: str, kill_at: int | None, torn: bool, counted: Path) -> int:
    """One pull; 1 if it was killed."""
    told = {
        "models_dir": str(folder / "models"),
        "identity": asdict(identity),
        "url": url,
        "block": BLOCK,
        "kill_at": kill_at,
        "torn": torn,
        "counted": str(counted),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.puller", json.dumps(told)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return int(done.returncode != 0)
