"""What a reload applies at once, and what waits for a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config.changes import (
    AT_RESTART,
    ENGINE_KEYS,
    GATEWAY_KEYS,
    IN_PLACE,
    Reloaded,
    differences,
    same_engine,
    until_restart,
)
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings


def local(**keys: Any) -> LocalEntry:
    return LocalEntry.model_validate({"target": "/m.gguf", **keys})


def test_each_setting_and_each_key_is_sorted() -> None:
    """Whoever adds one says what a change of it means."""
    assert sorted([*AT_RESTART, *IN_PLACE]) == sorted(Settings.model_fields)
    assert sorted([*ENGINE_KEYS, *GATEWAY_KEYS]) == sorted(LocalEntry.model_fields)


def test_what_waits_for_a_restart_keeps_its_value() -> None:
    running = Settings(port=1, host="127.0.0.1", max_loaded=1)
    new, waiting = until_restart(running, Settings(port=2, host="127.0.0.1", max_loaded=3, state_dir=Path("/new")))
    assert waiting == ("port", "state_dir")
    assert (new.port, new.state_dir, new.max_loaded) == (1, running.state_dir, 3)


def test_differences_are_named_in_the_order_of_the_file() -> None:
    before = Settings(models={"gone": local(), "same": local(), "b": local(), "a": local()})
    after = Settings(models={"new": local(), "b": local(ctx_size=1), "a": local(aliases=("x",)), "same": local()})
    done = differences(before, after)
    assert done == Reloaded(changed=("b", "a"), added=("new",), removed=("gone",))
    assert done.words() == ["changed: b, a", "added: new", "removed: gone"]


def test_a_setting_is_named_and_its_value_is_not() -> None:
    """It may be a secret."""
    done = differences(Settings(), Settings(api_keys="long-enough", watch=True))  # type: ignore[arg-type]
    assert done.settings == ("api_keys", "watch")
    assert "long-enough" not in str(done)


def test_nothing_has_changed() -> None:
    done = differences(Settings(models={"a": local()}), Settings(models={"a": local()}))
    assert done == Reloaded()
    assert done.words() == ["nothing has changed"]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({}, {}, True),
        ({}, {"speculation": "none"}, True),
        ({"draft": "/d.gguf"}, {"draft": "/d.gguf", "speculation": "draft-simple"}, True),
        ({"speculation": {"on_logprobs": "pass"}}, {}, True),
        ({"aliases": ["a"]}, {"request": {"drop": ["seed"]}}, True),
        ({}, {"ctx_size": 1}, False),
        ({}, {"args": ["--no-warmup"]}, False),
        ({}, {"env": {"A": "1"}}, False),
        ({}, {"speculation": "ngram-mod"}, False),
        ({"speculation": "auto"}, {}, False),
        ({"speculation": "ngram-mod"}, {"speculation": {"mode": "ngram-mod", "on_inert": "fail"}}, False),
    ],
)
def test_the_same_engine_serves_both(before: dict[str, Any], after: dict[str, Any], same: bool) -> None:
    assert same_engine(local(**before), local(**after)) is same
    assert same_engine(local(**after), local(**before)) is same


def test_a_server_of_others_is_no_engine_of_ours() -> None:
    theirs = AttachedEntry(url="http://x")
    assert not same_engine(theirs, local())
    assert not same_engine(theirs, theirs)
