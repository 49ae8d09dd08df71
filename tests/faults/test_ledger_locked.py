"""Another process holds the database's write lock."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from app.records.database import FILE_NAME, Database
from app.records.ledger import Ledger
from app.records.usage import UsageStore
from tests.support.gateway import Gateway, events, eventually, header_only

Make = Callable[..., Gateway]
HELD_S = 5.0


class Lock:
    """On the records of `folder`, for `HELD_S` seconds."""

    def __init__(self, folder: Path) -> None:
        self.held = threading.Event()
        self.released_at = 0.0
        self._thread = threading.Thread(target=self._hold, args=(folder / FILE_NAME,))

    def _hold(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.held.set()
            time.sleep(HELD_S)
            self.released_at = time.monotonic()
            other.execute("ROLLBACK")

    def __enter__(self) -> "Lock":
        self._thread.start()
        assert self.held.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def two_models(folder: Path) -> dict[str, Any]:
    target = {"path": str(header_only(folder / "model.gguf"))}
    return {
        "m": {"target": target, "args": ["--tps", "50", "--tokens", "100"], "parallel": 4},
        "dies": {"target": target, "args": ["--exit-after-tokens", "2"]},
    }


def test_a_lock_stops_no_stream_and_costs_no_record(make_gateway: Make, tmp_path: Path) -> None:
    """A stream begins and ends under it while another engine dies; all is recorded once it is free, in order."""
    gateway = make_gateway(models=two_models(tmp_path), max_loaded=2)
    gateway.chat("m", max_tokens=8).raise_for_status()
    eventually(lambda: gateway.state("m") == "ready")
    database = Database(Path(gateway.settings["state_dir"]))
    ledger = Ledger(database)
    eventually(lambda: len(ledger.measurements("m")) == 1)
    with Lock(database.path.parent) as lock:
        arrived = []
        with gateway.stream("m") as stream:
            for event in events(stream):
                arrived.append((time.monotonic(), event))
                if len(arrived) == 5:
                    assert gateway.chat("dies").status_code == 502
        ended = time.monotonic()
        assert gateway.chat("m", max_tokens=8).status_code == 200
    assert ended < lock.released_at, "the stream has waited for the lock"
    assert arrived[-1][1] == "[DONE]"
    text = [choice["delta"].get("content", "") for _, event in arrived[:-1] for choice in event.get("choices", ())]
    assert len([piece for piece in text if piece]) == 100
    eventually(lambda: ledger.last_failure("dies"))
    eventually(lambda: len(ledger.measurements("m")) == 3)
    assert [row.tokens for row in ledger.measurements("m")][1] == 100
    counts = {row["alias"]: row["requests"] for row in UsageStore(database).read(["alias"])}
    assert counts == {"m": 3, "dies": 1}
    [warning] = gateway.logged("another process holds its lock")
    assert warning["level"] == "warning"
    assert gateway.terminate() == 0
    assert not gateway.logged("are lost")
