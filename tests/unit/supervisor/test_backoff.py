"""A failure is waited for longer each time, and an engine that has worked comes back at once."""

from app.supervisor.backoff import LONGEST_BACKOFF_S, Backoff


def delays(backoff: Backoff, count: int) -> list[float]:
    found = []
    for _ in range(count):
        backoff.failed(100.0)
        found.append(backoff.until - 100.0)
    return found


def test_it_doubles_up_to_a_minute_for_as_long_as_it_fails() -> None:
    backoff = Backoff()
    assert delays(backoff, 8) == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delays(backoff, 5000)[-1] == LONGEST_BACKOFF_S


def test_an_engine_that_has_worked_starts_again_without_a_delay_once() -> None:
    backoff = Backoff()
    delays(backoff, 5)
    backoff.worked()
    assert delays(backoff, 3) == [0, 1, 2]
    backoff.forget()
    assert delays(backoff, 2) == [1, 2]
