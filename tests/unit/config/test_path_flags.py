"""Which words of `args` are paths."""

import re

import pytest

from app.config.path_flags import PATH_FLAGS, anchored, path_values
from app.config.reserved_flags import GATEWAY_FLAGS, RESERVED_FLAGS
from tests.support.paths import ROOT

_NOT_OURS = {"-hffv", "--hf-file-v"}  # a file on the Hub


def test_every_flag_whose_help_names_a_file_is_known() -> None:
    """On all help pages that we have; what an entry has a key for is no matter of `args`."""
    named: set[str] = set()
    for page in (ROOT / "tests" / "data" / "help").glob("*.txt"):
        for line in page.read_text().splitlines():
            if match := re.match(r"((?:-[\w-]+,?\s+)+)(?:FNAME|FILE|PATH|DIR|JINJA_TEMPLATE_FILE)\b", line):
                named.update(re.findall(r"-[\w-]+", match[1]))
    assert len(named) > 30
    assert named - set(RESERVED_FLAGS) - GATEWAY_FLAGS - _NOT_OURS == PATH_FLAGS


@pytest.mark.parametrize(
    ("args", "there"),
    [
        (["--lora", "x.gguf"], ["--lora", "/f/x.gguf"]),
        (["--lora", "a.gguf,b.gguf"], ["--lora", "/f/a.gguf,/f/b.gguf"]),
        (["--lora-scaled", "a.gguf:0.5,b.gguf:1"], ["--lora-scaled", "/f/a.gguf:0.5,/f/b.gguf:1"]),
        (["--lora_scaled", "a.gguf", "0.5"], ["--lora_scaled", "/f/a.gguf", "0.5"]),
        (["-lcs", "c.bin", "-ngl", "99"], ["-lcs", "/f/c.bin", "-ngl", "99"]),
        (["--chat-template-file=a,b.jinja"], ["--chat-template-file=/f/a,b.jinja"]),
        (["--log-file", "-v", "x"], ["--log-file", "-v", "x"]),
        (["--chat-template", "chatml", "-ot", "exps=CPU"], ["--chat-template", "chatml", "-ot", "exps=CPU"]),
        ([], []),
    ],
)  # fmt: skip
def test_paths_are_anchored_and_nothing_else(args: list[str], there: list[str]) -> None:
    """In lists each; of a scale behind a path nothing changes."""
    assert list(anchored(args, lambda path: f"/f/{path}")) == there


def test_the_paths_alone() -> None:
    assert list(path_values(["-ngl", "9", "--lora", "a,b", "--path=c"])) == ["a", "b", "c"]
