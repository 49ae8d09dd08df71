"""What a build accepts, read off recorded help pages."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.reserved_flags import GATEWAY_FLAGS, RESERVED_FLAGS
from app.engine.dialect import Dialect
from app.errors import ProbeError
from tests.support.paths import DATA

PAGES = DATA / "help"


def page(name: str) -> Dialect:
    return Dialect.from_help((PAGES / f"{name}.txt").read_text(encoding="utf-8"))


NEW, BETWEEN, OLD, EMBEDDED = (page(name) for name in ("b11434", "b9093", "2025-08", "embedded-2026.10"))


def test_removed_flags_are_not_of_the_dialect() -> None:
    """b11434 lists --draft-max with the words that it has been removed, and refuses it."""
    assert "--draft-max" not in NEW.flags
    assert "--draft-max" in OLD.flags


def test_flags_and_their_values_are_told_from_descriptions() -> None:
    """Long heads, several names, several values and heads without a description beside them."""
    assert NEW.takes_value >= {"-ngl", "--spec-type", "--override-tensor", "--chat-template-file", "-lm"}
    assert not NEW.takes_value & {"--jinja", "--no-models-autoload", "-v", "--metrics", "--no-warmup"}
    assert "draft-simple" in NEW.speculation_modes
    assert OLD.speculation_modes == frozenset()


def test_every_reserved_flag_is_real_on_a_recorded_build() -> None:
    """A misspelt entry in RESERVED_FLAGS would guard nothing."""
    assert set(RESERVED_FLAGS) <= NEW.flags | OLD.flags
    assert set(GATEWAY_FLAGS) <= NEW.flags | OLD.flags


@pytest.mark.parametrize("page", ["", "bash: llama-server: not found", "usage: ls [-l]\n--model X\n"])
def test_another_programs_page_is_no_dialect(page: str) -> None:
    """A wrapper or a wrong path is named before anything starts."""
    with pytest.raises(ProbeError):
        Dialect.from_help(page)


@given(st.text(alphabet=st.sampled_from("-ab m,odelprt\n<> 0") | st.characters()))
def test_any_text_is_a_dialect_or_a_probe_failure(page: str) -> None:
    """No text makes the reader fail in another way."""
    with suppress(ProbeError):
        assert Dialect.from_help(page).flags


@pytest.mark.parametrize(("dialect", "translates"), [(OLD, True), (BETWEEN, True), (NEW, False), (EMBEDDED, False)])
def test_who_carries_tokens_between_vocabularies(dialect: Dialect, translates: bool) -> None:
    """August 2025 to spring 2026, seen running: a draft with other tokens drafts there, and is dropped since."""
    assert dialect.translates_vocabularies is translates
