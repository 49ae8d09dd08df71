"""Keys as values: what they hide, when they hold, what they may."""

from __future__ import annotations

import pytest

from app.auth.keys import EVERYTHING, ApiKey, check_name, digest, find, from_setting, lifetime, new_secret, patterns
from app.errors import ConfigError

DAY = 86400


def test_a_secret_is_long_and_another_one_each_time() -> None:
    """And fits into a header, a shell word and a URL as it is."""
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("lt-") and len(first) == 46
    assert first.replace("-", "").replace("_", "").isalnum()


def test_nothing_that_is_kept_gives_a_secret_away() -> None:
    """The value that stands in memory and in the database holds the hash alone."""
    secret = new_secret()
    assert secret not in repr(ApiKey("a", digest(secret)))


def test_a_key_is_found_by_its_secret_alone() -> None:
    """Not by a prefix, another case, or its hash."""
    keys = [ApiKey("a", digest("secret-a")), ApiKey("b", digest("secret-b"))]
    found = find(keys, b"secret-b", 0)
    assert found is not None and found.name == "b"
    for wrong in (b"", b"secret-", b"SECRET-B", b"secret-b ", b"\xff", digest("secret-b")):
        assert find(keys, wrong, 0) is None


def test_a_key_ends_at_its_time() -> None:
    """To the moment; a revoked one has ended already."""
    key = ApiKey("a", digest("s"), expires=10.0)
    assert find([key], b"s", 9.9) is key
    assert find([key], b"s", 10.0) is None
    assert find([ApiKey("a", digest("s"), revoked=5.0)], b"s", 0) is None


@pytest.mark.parametrize(
    ("models", "name", "may"),
    [
        (EVERYTHING, "any/thing", True),
        (("unsloth/*",), "unsloth/GLM-4.7", True),
        (("unsloth/*",), "unsloth", False),
        (("unsloth/*",), "Unsloth/GLM", False),
        (("a", "b*"), "bc", True),
        (("a",), "ab", False),
        (("[ab]?",), "b1", True),
    ],
)
def test_models_are_matched_by_pattern(models: tuple[str, ...], name: str, may: bool) -> None:
    """As a shell matches file names, case and all; a star crosses slashes."""
    assert ApiKey("a", b"", models).may(name) is may


@pytest.mark.parametrize(("text", "seconds"), [("90d", 90 * DAY), ("12h", 43200), ("8w", 56 * DAY), ("never", None)])
def test_lifetimes(text: str, seconds: float | None) -> None:
    """A number and a unit."""
    assert lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "0d", "90", "d", "-1d", "1.5d", "90days", "9999999d"])
def test_a_lifetime_that_is_none_is_refused(text: str) -> None:
    """Rather than a key that is over at once, or never."""
    with pytest.raises(ConfigError, match="--expires"):
        lifetime(text)


@pytest.mark.parametrize("name", ["", "a b", "a,b", "x" * 65, "a\n", "é/"])
def test_a_name_is_a_word(name: str) -> None:
    """It stands in tables and logs."""
    with pytest.raises(ConfigError, match="--name"):
        check_name(name)


def test_patterns_are_separated_by_commas() -> None:
    """None at all would be a key for nothing."""
    assert patterns(" a/* ,b,") == ("a/*", "b")
    with pytest.raises(ConfigError, match="--models"):
        patterns(" , ")


def test_keys_of_the_environment_are_numbered() -> None:
    """For figures; they may use every model, and administrate nothing."""
    keys = from_setting("first-secret, second-secret")
    assert [key.name for key in keys] == ["env-1", "env-2"]
    assert find(keys, b"second-secret", 0) is keys[1]
    assert not any(key.admin for key in keys)
    assert from_setting(" ") == ()


@pytest.mark.parametrize("text", ["short", "long-enough,", "long-enough,wïth-accent", "long-enough,two words"])
def test_a_wrong_key_of_the_environment_is_named_by_its_number(text: str) -> None:
    """Never by what it is."""
    with pytest.raises(ValueError, match=r"key [12] of") as caught:
        from_setting(text)
    assert not any(part and part in str(caught.value) for part in text.split(","))
