"""Responses that are kept: for whom, how long, how many, and what is left of those that go."""

from pathlib import Path

import pytest

from app.records.responses import ResponseStore, StoredResponse


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kept(response_id: str, owner: str = "o", *, expires: float = 2000, previous: str | None = None) -> StoredResponse:
    return StoredResponse(response_id, owner, expires, previous, b"[]", b'{"secret word": 1}')


def store(folder: Path, clock: Clock, limit: int = 1 << 20) -> ResponseStore:
    return ResponseStore(folder, report=lambda line: pytest.fail(line), limit=limit, clock=clock)


def test_a_response_belongs_to_its_key(tmp_path: Path, clock: Clock) -> None:
    """At once, after a restart, and to nobody else; its file is for its own user."""
    first = store(tmp_path, clock)
    assert first.get("a", "o") is None and not first.exists()
    first.put(kept("a"))
    assert first.get("a", "o") == kept("a") and first.get("a", "other") is None
    first.close()
    again = store(tmp_path, clock)
    assert again.get("a", "o") == kept("a") and again.get("a", "other") is None
    assert again.path.stat().st_mode & 0o777 == 0o600
    assert not again.delete("a", "other")
    assert again.delete("a", "o") and not again.delete("a", "o")
    assert again.get("a", "o") is None
    again.close()


def test_a_file_without_tables_holds_no_response(tmp_path: Path, clock: Clock) -> None:
    """The writer creates the file first, so that a reader may see it empty."""
    made = store(tmp_path, clock)
    made.path.touch(mode=0o600)
    assert made.get("a", "o") is None
    assert made.chain("a", "o") == "a"


def test_a_conversation_lives_as_long_as_its_last_response(tmp_path: Path, clock: Clock) -> None:
    """Going on from a response keeps all before it; then they expire together."""
    made = store(tmp_path, clock)
    made.put(kept("a", expires=2000))
    made.put(kept("b", expires=2900, previous="a"))
    made.close()
    made = store(tmp_path, clock)
    clock.now = 2500
    chain = made.chain("b", "o")
    assert not isinstance(chain, str) and [response.response_id for response in chain] == ["a", "b"]
    clock.now = 3000
    assert made.get("a", "o") is None
    made.close()


def test_a_broken_conversation_names_what_is_missing(tmp_path: Path, clock: Clock) -> None:
    """One that was deleted in its midst."""
    made = store(tmp_path, clock)
    made.put(kept("b", previous="a"))
    assert made.chain("b", "o") == "a"
    made.close()


def test_the_oldest_go_first_and_the_file_stays_below_its_limit(tmp_path: Path, clock: Clock) -> None:
    """However many come."""
    made = store(tmp_path, clock, limit=400_000)
    for number in range(60):
        made.put(StoredResponse(f"r{number}", "o", 2000 + number, None, b"[]", b"x" * 20_000))
    made.close()
    made = store(tmp_path, clock, limit=400_000)
    assert made.get("r0", "o") is None and made.get("r59", "o") is not None
    assert made.path.stat().st_size <= 400_000
    made.close()


def test_who_is_forgotten_leaves_no_byte(tmp_path: Path, clock: Clock) -> None:
    """A key that was revoked, and what has expired; not those without a key."""
    made = store(tmp_path, clock)
    for owner in ("revoked", "valid", ""):
        made.put(kept(f"of {owner}", owner))
    made.put(kept("expired", "valid", expires=1500))
    clock.now = 1600
    made.forget(["valid"])
    made.close()
    made = store(tmp_path, clock)
    assert made.get("of revoked", "revoked") is None
    assert made.get("of valid", "valid") is not None and made.get("of ", "") is not None
    content = made.path.read_bytes()
    assert content.count(b"secret word") == 2 and b"of revoked" not in content
    made.close()
