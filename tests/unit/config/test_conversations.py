"""`conversations` as people write it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.config.conversations import ConversationLimits, own_slot_folder


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({}, "{disk: 8GiB, keep: 24h}"),
        (True, "{disk: 8GiB, keep: 24h}"),
        ("on", "{disk: 8GiB, keep: 24h}"),
        (False, "off"),
        ("off", "off"),
        ({"disk": "2GiB"}, "{disk: 2GiB, keep: 24h}"),
        ({"keep": 7200}, "{disk: 8GiB, keep: 2h}"),
        ("{disk: 4GiB, keep: 30m}", "{disk: 4GiB, keep: 0.5h}"),
        ('{"disk": "4GiB"}', "{disk: 4GiB, keep: 24h}"),
    ],
)
def test_each_form(written: Any, shown: str) -> None:
    """Mappings and words, in a file and in a variable of the environment."""
    assert str(ConversationLimits.model_validate(written)) == shown


@pytest.mark.parametrize(
    ("written", "place", "words"),
    [
        (7, (), "must be on, off, or {disk: 8GiB, keep: 24h}; not 7"),
        ("sometimes", (), "must be on, off, or"),
        (None, (), "must be on, off, or"),
        ({"on": True}, (), "has no key on"),
        ({"disk": "much"}, ("disk",), "must be bytes, or a number with KiB"),
        ({"disk": 0}, ("disk",), "greater than 0"),
        ({"disk": True}, ("disk",), "must be a number"),
        ({"keep": "a while"}, ("keep",), "must be seconds"),
        ({"kep": "1h"}, ("kep",), "Extra inputs"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(written: Any, place: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ConversationLimits.model_validate(written)
    (error,) = raised.value.errors()
    assert error["loc"] == place and words in error["msg"]


def test_what_gives_an_entry_a_folder_of_its_own() -> None:
    """In every spelling that llama-server takes."""
    assert own_slot_folder(["--slot-save-path", "/x"]) == "--slot-save-path"
    assert own_slot_folder(["-ngl", "1", "--slot_save_path", "/x"]) == "--slot_save_path"
    assert own_slot_folder(["--slots"]) == ""
