"""What engines take, as far as the system tells."""

import os

import pytest

from app.tuning import memory


def test_the_lines_of_one_process_are_added_up() -> None:
    """One line for each GPU that it uses; `[N/A]` is what some drivers say, and none is unknown, not 0."""
    lines = ["77, 512", "99, 100", "77, 1024", "77, [N/A]", ""]
    assert memory.sum_of(lines, 77) == 1536 << 20
    assert memory.sum_of(lines, 7) is None


def test_a_process_that_is_gone_takes_nothing_known() -> None:
    """An engine may die between its answer and this look at it."""
    assert memory.resident(2**22 + 1) is None
    assert (memory.resident(os.getpid()) or 0) > 1 << 20


@pytest.mark.parametrize(
    ("sizes", "gpu", "together"),
    [
        ([10 << 30] * 4, [], True),
        ([20 << 30] * 4, [], False),
        ([10 << 30] * 4, ["40960"], False),
        ([1], ["40960"], True),
    ],
)
def test_all_are_loaded_only_where_memory_clearly_allows(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], gpu: list[str], together: bool
) -> None:
    """Under half of what is free, of main memory and of the GPUs'."""
    monkeypatch.setattr(memory, "free", lambda: 100 << 30)
    monkeypatch.setattr(memory, "_smi", lambda query: gpu)
    monkeypatch.setattr(memory.sys, "platform", "darwin")  # no look at this machine's /dev
    assert memory.room_for_all(sizes) is together
