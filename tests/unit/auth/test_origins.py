"""Origins of web pages, as people write them."""

import pytest

from app.auth.origins import origins_of


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://app.example", {b"https://app.example"}),
        (" http://localhost:3000 , https://B.example/ ,", {b"http://localhost:3000", b"https://b.example"}),
        ("https://a.example:443, http://a.example:80", {b"https://a.example", b"http://a.example"}),
        ("app://obsidian.md,tauri://localhost", {b"app://obsidian.md", b"tauri://localhost"}),
        ("http://[::1]:5173", {b"http://[::1]:5173"}),
        ("", set()),
    ],
)
def test_origins_are_taken_as_browsers_send_them(written: str, sent: set[bytes]) -> None:
    """In lower case, without a usual port and without a path."""
    assert origins_of(written) == sent


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("*", "any web page"),
        ("https://*.example", "not an origin"),
        ("app.example", "scheme, host and port"),
        ("https://app.example/path", "not an origin"),
        ("https://", "not an origin"),
        ("null", "not an origin"),
        ("https://user@app.example", "not an origin"),
    ],
)
def test_what_names_no_single_origin_is_refused_in_words(written: str, words: str) -> None:
    """No pattern, no star, no half of an address."""
    with pytest.raises(ValueError, match=words):
        origins_of(f"https://good.example, {written}")
