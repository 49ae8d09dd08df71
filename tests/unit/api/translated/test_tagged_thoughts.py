"""Thoughts between tags at the beginning of a text, cut anywhere."""

import pytest

from app.api.translated.tagged_thoughts import TaggedThoughts


def told(*pieces: str) -> tuple[str, str]:
    """All thoughts and all text."""
    tagged = TaggedThoughts()
    parts = [*map(tagged.feed, pieces), tagged.end()]
    return "".join(thoughts for thoughts, _ in parts), "".join(text for _, text in parts)


@pytest.mark.parametrize(
    ("text", "thoughts", "said"),
    [
        ("<think>\nHm.\n</think>\n\nParis.", "Hm.\n", "Paris."),
        ("\n <think>a</think>b", "a", "b"),
        ("<think></think>b", "", "b"),
        ("<think>a < b </thing></think>c</think>", "a < b </thing>", "c</think>"),
        # Cut at a limit of tokens
        ("<think>Hm, </thi", "Hm, </thi", ""),
        ("<thi", "", "<thi"),
        # No thoughts, or not at the beginning
        ("", "", ""),
        (" \n", "", " \n"),
        (" Paris. <think>Hm.</think>", "", " Paris. <think>Hm.</think>"),
        ("<thinking>Hm.</thinking>", "", "<thinking>Hm.</thinking>"),
        ("<tool>", "", "<tool>"),
    ],
)
def test_thoughts_and_text(text: str, thoughts: str, said: str) -> None:
    """In one piece, by the character, and in two pieces that are cut anywhere."""
    cuts = [(text[:at], text[at:]) for at in range(len(text) + 1)]
    for pieces in ([text], list(text), *cuts):
        assert told(*pieces) == (thoughts, said)


def test_text_that_is_no_thought_is_not_held_back() -> None:
    """A client sees the first piece when it comes."""
    assert TaggedThoughts().feed("Paris") == ("", "Paris")
    tagged = TaggedThoughts()
    tagged.stop()
    assert tagged.feed("<think>") == ("", "<think>")
