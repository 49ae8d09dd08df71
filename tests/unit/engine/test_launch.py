"""Launch plans: the whole command line, the whole environment, every file."""

import shlex
from pathlib import Path

import pytest

from app.config.model_entry import LocalEntry
from app.config.speculation import AUTO, PLAIN, Step
from app.engine.dialect import Dialect
from app.engine.launch import LaunchPlan, build_plan
from app.engine.locate import EngineBinary
from app.models.catalog import ModelSpec
from app.models.ref import ModelRef
from tests.support.paths import DATA

DIALECT = Dialect.from_help((DATA / "help" / "b11434.txt").read_text(encoding="utf-8"))
ENGINE = EngineBinary(command=("/opt/llama-server",), files=(), origin="llama-server on PATH")
HOME = Path("/state/empty")


def plan(environ: dict[str, str] | None = None, **keys: object) -> LaunchPlan:
    target, draft = Path("/m/a b-00001-of-00002.gguf"), Path("/m/d.gguf")
    entry = LocalEntry.model_validate({"target": {"path": target}, "draft": {"path": draft}, **keys})
    spec = ModelSpec(ModelRef("org/model", entry), target, draft, entry.chain or PLAIN)
    return build_plan(spec, ENGINE, DIALECT, port=8001, environ=environ or {}, config_home=HOME)


def test_files_are_all_shards_of_target_and_draft() -> None:
    """Whatever changes on disk and matters is watched; argv names first shards only."""
    names = [path.name for path in plan().files]
    assert names == ["a b-00001-of-00002.gguf", "a b-00002-of-00002.gguf", "d.gguf"]


def test_the_projector_is_one_of_the_files() -> None:
    """A start that failed is tried again when it has changed; without speculation it stays."""
    entry = LocalEntry.model_validate({"target": {"path": "/m/t.gguf"}, "mmproj": {"path": "/m/p.gguf"}})
    spec = ModelSpec(ModelRef("m", entry), Path("/m/t.gguf"), None, (Step("ngram-mod"),), Path("/m/p.gguf"))
    plan = build_plan(spec, ENGINE, DIALECT, port=8001, environ={}, config_home=HOME)
    assert plan.fallback is not None
    for launch in (plan, plan.fallback):
        assert launch.files == (Path("/m/t.gguf"), Path("/m/p.gguf")) and "--mmproj" in launch.argv


@pytest.mark.parametrize(
    ("on_inert", "requested", "falls_back"),
    [("plain", None, True), ("fail", None, False), ("fail", AUTO, True)],
)
def test_what_auto_chose_may_always_be_left(on_inert: str, requested: str | None, falls_back: bool) -> None:
    """An arm that cannot start would be chosen again and again; a mode that was asked for by name is insisted on."""
    speculation = {"mode": AUTO if requested else "ngram-mod", "on_inert": on_inert}
    entry = LocalEntry.model_validate({"target": {"path": "/m/t.gguf"}, "speculation": speculation})
    chain = (Step("ngram-mod"),)
    spec = ModelSpec(ModelRef("m", entry), Path("/m/t.gguf"), None, chain, requested_mode=requested or "")
    plan = build_plan(spec, ENGINE, DIALECT, port=1, environ={}, config_home=HOME)
    assert (plan.fallback is not None) is falls_back


def test_argv_begins_with_the_engine() -> None:
    """The embedded engine's prefix is several words."""
    assert plan().argv[:2] == ("/opt/llama-server", "--model")


def test_another_port_changes_nothing_else() -> None:
    """The next free port is a new plan; the old one stays as it was."""
    before = plan(args=["--no-warmup"])
    after = before.with_port(8002)
    assert [(a, b) for a, b in zip(before.argv, after.argv, strict=True) if a != b] == [("8001", "8002")]
    assert after.argv[after.argv.index("--port") + 1] == "8002"
    assert after.env == before.env


def test_shell_line_can_be_pasted() -> None:
    """A shell reads back exactly argv."""
    assert tuple(shlex.split(plan().shell_line())) == plan().argv
    assert "\n" not in plan().shell_line()


def test_an_entrys_own_environment_wins() -> None:
    """`env` of an entry is said on purpose, whatever its name."""
    env = plan({"CUDA_VISIBLE_DEVICES": "0"}, env={"CUDA_VISIBLE_DEVICES": 1, "LLAMA_ARG_POLL": "0"}).env
    assert env["CUDA_VISIBLE_DEVICES"] == "1"
    assert env["LLAMA_ARG_POLL"] == "0"


def test_notes_come_from_the_translation() -> None:
    """`plan` prints them."""
    assert [note.key for note in plan().notes] == ["draft"]
