"""Which words of a command line decide on a chat template."""

import pytest

from app.engine.template_trial import template_words


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["llama-server", "--model", "m", "--jinja"], []),
        (["llama-server", "--chat-template", "x {{ y", "--port", "1"], ["--chat-template", "x {{ y"]),
        (
            ["llama-server", "--no-jinja", "--chat-template-file", "t.jinja", "-ngl", "9"],
            ["--no-jinja", "--chat-template-file", "t.jinja"],
        ),
    ],
)
def test_without_a_template_of_its_own_a_build_is_not_asked(argv: list[str], words: list[str]) -> None:
    """The model's own one is taken or replaced by llama-server, and never ends a start."""
    assert template_words(argv) == tuple(words)
