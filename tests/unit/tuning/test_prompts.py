"""The user's own prompts, and ours."""

from pathlib import Path

import pytest

from app.errors import ConfigError
from app.tuning.design import LEVELS
from app.tuning.prompts import OWN, read_prompts
from app.tuning.texts import BUILT_IN


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts"


def test_plain_text_is_split_at_blank_lines(file: Path) -> None:
    """Each paragraph is a user's message, its own lines kept."""
    file.write_text("\ufeffFirst\nsecond line\n\n  \nOther\r\n\r\n")
    (first, other) = read_prompts(file)[OWN]
    assert first.body == {"messages": [{"role": "user", "content": "First\nsecond line"}]}
    assert other.body["messages"][0]["content"] == "Other"


def test_json_lines_are_prompts_or_messages(file: Path) -> None:
    """A prompt is completed as it is, messages go through the chat template."""
    file.write_text('{"prompt": "Once"}\n\n{"messages": [{"role": "user", "content": "Hi"}]}\n')
    assert [prompt.path for prompt in read_prompts(file)[OWN]] == ["/v1/completions", "/v1/chat/completions"]


@pytest.mark.parametrize(
    "bad", ['{"prompt": 3}', '{"prompt": " "}', '{"messages": []}', '{"messages": ["hi"]}', "[]", "{", "[" * 100_000]
)
def test_a_wrong_line_is_named(file: Path, bad: str) -> None:
    """All of them at once."""
    file.write_text(f'{{"prompt": "fine"}}\n{bad}\n{{"prompt": "fine"}}\n{{"promt": "x"}}\n')
    with pytest.raises(ConfigError) as caught:
        read_prompts(file)
    lines = [problem.removeprefix(f"--prompts: {file}: ").split(":")[0] for problem in caught.value.problems]
    assert lines == ["line 2", "line 4"]


@pytest.mark.parametrize(("content", "words"), [(b"", "holds no prompt"), (b"ok\n\nno\xff", "line 3: is not UTF-8")])
def test_a_file_without_prompts_is_refused(file: Path, content: bytes, words: str) -> None:
    """So is one that is not text."""
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_prompts(file)


def test_a_missing_file_is_named(file: Path) -> None:
    """Not a traceback."""
    with pytest.raises(ConfigError, match=r"--prompts: .*prompts: cannot be read: No such file"):
        read_prompts(file)


def test_the_built_in_ones_suffice_for_a_round() -> None:
    """Four kinds, each with as many different texts as a round can ask for at most; short enough for a small slot."""
    assert list(BUILT_IN) == ["code edit", "chat", "summary", "repeat"]
    for prompts in BUILT_IN.values():
        texts = [prompt.body["messages"][0]["content"] for prompt in prompts]
        assert len(set(texts)) == len(texts) >= sum(LEVELS)
        assert max(map(len, texts)) < 1200
