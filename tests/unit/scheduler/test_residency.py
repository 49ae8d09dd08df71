"""How long an engine stays: its entry, then verbs, then what requests wish."""

from __future__ import annotations

import math

import pytest

from app.scheduler.residency import RECENT_S, Residency, ResidencyState, preloads

NEVER = math.inf


@pytest.mark.parametrize(
    ("entry", "keep_alive", "unload_at"),
    [
        (Residency(), None, NEVER),
        (Residency(ttl=300), None, 400),
        (Residency(ttl=300, pin=True), None, NEVER),
        (Residency(ttl=300, pin=True), 10, NEVER),
        (Residency(ttl=300), 10, 110),
        (Residency(), 10, 110),
        (Residency(ttl=300), 3600, 400),
        (Residency(ttl=300), math.inf, 400),
        (Residency(), math.inf, NEVER),
    ],
)
def test_a_request_shortens_a_stay_and_lengthens_none(
    entry: Residency, keep_alive: float | None, unload_at: float
) -> None:
    """Nor does it end that of a pinned engine."""
    stay = ResidencyState()
    stay.used("a", keep_alive, 100)
    assert stay.unload_at(entry, idle_since=100) == unload_at


def test_nobody_loses_an_engine_by_anothers_wish() -> None:
    """Who has used it in the last minute keeps it for that minute; a request without a wish takes the wish back."""
    stay = ResidencyState()
    stay.used("b", None, 90)
    stay.used("a", 1, 100)
    assert stay.unload_at(Residency(), 100) == 90 + RECENT_S
    stay.used("b", None, 110)
    assert stay.unload_at(Residency(ttl=300), 110) == 410
    stay.used("a", 1, 110 + RECENT_S)
    assert stay.unload_at(Residency(ttl=300), 110 + RECENT_S) == 111 + RECENT_S
    stay.left()
    assert stay.unload_at(Residency(), 500) == NEVER


def test_a_verb_pins_over_the_entry() -> None:
    """In both directions, until it is taken back."""
    stay = ResidencyState()
    for verb, of_pinned, of_others in ((None, True, False), (True, True, True), (False, False, False)):
        stay.pin = verb
        assert (stay.pinned(Residency(pin=True)), stay.pinned(Residency())) == (of_pinned, of_others)


def test_what_cannot_be_preloaded_is_told_with_the_reason() -> None:
    """The most important come first, then as they are written."""
    loaded = Residency(preload=True)
    models = [("a", loaded), ("b", Residency()), ("c", Residency(preload=True, priority=5)), ("d", loaded)]
    assert preloads(models, 2) == (["c", "a"], {"d": "max_loaded is 2"})
    alone = Residency(preload=True, exclusive=True)
    assert preloads([("a", alone), ("b", loaded)], 9) == (["a"], {"b": "'a' is exclusive"})
    assert preloads([("b", loaded), ("a", alone)], 9) == (["b"], {"a": "it is exclusive, and 'b' is loaded"})
