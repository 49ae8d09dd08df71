"""Values that no help page tells enough of: the build is asked, and only then."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.engine.argument_trial import check_values
from app.engine.arguments import read_arguments
from app.engine.dialect import Dialect
from app.engine.launch import LaunchPlan
from app.engine.locate import EngineBinary, locate
from app.errors import LaunchRefusedError
from tests.support.paths import DATA

DIALECT = Dialect.from_help((DATA / "help" / "b11434.txt").read_text(encoding="utf-8"))
# As b11434 prints it; the words that it was started with go to a file.
REFUSES = """
import sys
open({asked!r}, "a").write(" ".join(sys.argv[1:]) + chr(10))
for flag in ("--numa", "-ts"):
    if flag in sys.argv and "bad" in sys.argv:
        sys.exit(f'error while handling argument "{{flag}}": invalid value')
sys.exit("gguf_init_from_file: failed to open GGUF file '/nonexistent/model.gguf' (No such file or directory)")
"""


class Build:
    def __init__(self, folder: Path) -> None:
        self._asked = folder / "asked"
        path = folder / "llama-server"
        path.write_text(f"#!{sys.executable} -S\n" + REFUSES.format(asked=str(self._asked)))
        path.chmod(0o755)
        self.engine: EngineBinary = locate(str(path))

    def check(self, *args: str, **env: str) -> None:
        plan = LaunchPlan("m", ("llama-server", *args), env, (), ())
        check_values(plan, read_arguments(args, DIALECT), DIALECT, self.engine)

    @property
    def asked(self) -> list[str]:
        return self._asked.read_text().splitlines() if self._asked.exists() else []


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--numa", "bad"), "words such as distribute, isolate, numactl, not 'bad'"),
        (("-ts", "bad"), "It takes N0,N1,N2,..., not 'bad'"),
    ],
)
def test_what_the_build_refuses_is_refused_with_the_form(build: Build, args: tuple[str, ...], words: str) -> None:
    with pytest.raises(LaunchRefusedError, match="llama-server refuses the value of") as caught:
        build.check(*args)
    assert words in str(caught.value)
    assert caught.value.code == "bad_value"


def test_it_is_asked_once_and_for_what_is_vague_alone(build: Build) -> None:
    """Choices, numbers, files and templates are looked at elsewhere; the model is nowhere, so nothing is loaded."""
    build.check("-ngl", "9", "-fa", "on", "--lora", "/x", "--chat-template", "chatml", "--no-ui", "--mlock")
    assert build.asked == []
    for ngl in "12":
        build.check("-ngl", ngl, "--numa", "distribute", "--lora", "/x")
    [asked] = build.asked
    assert asked.startswith("--numa distribute --model /nonexistent/")
    build.check(LLAMA_ARG_THREADS="4")
    assert len(build.asked) == 2


def test_where_nobody_can_be_asked_the_start_will_tell(build: Build) -> None:
    Path(build.engine.command[0]).write_text("no program")
    build.check("--numa", "bad")
