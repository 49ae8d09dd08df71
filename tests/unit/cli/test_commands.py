"""The command line as a shell sees it: what is printed where, exit codes, and never a traceback."""

from __future__ import annotations

import importlib.metadata
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.auth.local_admin_key import make_local_secret
from app.cli import cli
from app.cli.check_report import CheckReport
from app.cli.launch_memory import PlannedStart
from app.config.settings import load_settings
from app.engine.footprint.footprint import Footprint, FootprintPart
from app.engine.footprint.verdict import MemoryVerdict
from app.engine.launch import LaunchPlan
from app.engine.translate import Note
from app.errors import LaunchRefusedError
from app.records.usage import UsageSums
from tests.support.records import write_usage

MODELS = "models: {org/m: {url: 'http://127.0.0.1:1'}}\n"
COMMANDS = [
    ["keys", "create", "--name", "a"],
    ["keys", "list"],
    ["keys", "revoke", "a"],
    ["serve"],
    ["plan", "m"],
    ["check"],
    ["stats"],
    ["usage"],
    ["chat", "m"],
    ["tune", "m"],
    ["pull", "m"],
    ["search", "glm"],
    ["show", "m"],
    ["ls"],
    ["rm", "m"],
    ["verify"],
    ["ps"],
    ["load", "m"],
    ["stop", "--all"],
    ["pin", "m"],
    ["unpin", "m"],
    ["reset", "m"],
]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder and no settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    """A run whose exception, if any, is an exit."""
    result = CliRunner().invoke(cli, list(args))
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "Traceback" not in result.output
    return result


def test_the_tests_keep_off_this_persons_state() -> None:
    """`make run` leaves a key there, and `make test` comes after it."""
    assert not load_settings().state_dir.is_relative_to(Path.home() / ".local")


def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that runs without being installed has none, which is no reason to fail."""
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.2.3")
    assert run("--version").stdout == "llama-tandem 1.2.3\n"

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, "llama-tandem 0+unknown\n")


def test_help_names_every_command_and_each_has_its_own() -> None:
    """Without an argument the same page comes, and is an error."""
    page = run("--help")
    assert page.exit_code == 0
    for name in (
        "serve",
        "plan",
        "check",
        "chat",
        "init",
        "import",
        "stats",
        "tune",
        "usage",
        *("load", "stop", "pin", "unpin", "reset"),
    ):
        assert f"\n  {name} " in page.output
        own = run(name, "--help")
        assert own.exit_code == 0 and "--config FILE" in own.output
    for name in ("pull", "search", "show", "ls", "rm", "verify", "ps"):
        assert f"\n  {name} " in page.output and {"--config", "--json"} <= set(run(name, "--help").output.split())
    bare = run()
    assert bare.exit_code == 2 and bare.output == page.output


@pytest.mark.parametrize("args", COMMANDS)
def test_a_file_that_is_not_there_is_one_line_on_stderr(args: list[str]) -> None:
    """Nothing on stdout, where a script may read; exit code 1."""
    result = run(*args, "--config", "no.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "llama-tandem: --config: there is no file no.yaml\n"


def test_every_problem_has_a_line_with_our_name(folder: Path) -> None:
    """However many there are."""
    (folder / "tandem.yaml").write_text("port: many\nprot: 1\n")
    result = run("check")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines == [
        f"llama-tandem: {folder}/tandem.yaml:1:7: port: must be a whole number, not 'many'",
        "    1 | port: many",
        "      |       ^",
        f"llama-tandem: {folder}/tandem.yaml:2:1: prot: no such key; did you mean port?",
        "    2 | prot: 1",
        "      | ^",
    ]


@pytest.mark.parametrize("args", [["serve", "--port", "many"], ["plan"], ["nothing"], ["check", "--nothing"]])
def test_a_wrong_command_line_is_exit_code_2(args: list[str]) -> None:
    """With a usage line that says what would be right."""
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_options_of_serve_are_settings(folder: Path) -> None:
    """They are named as what they are when they are wrong."""
    result = run("serve", "--port", "70000")
    assert result.exit_code == 1 and result.stderr.startswith("llama-tandem: --port: must be at most 65535, not 70000")


@pytest.mark.parametrize("command", ["serve", "check"])
def test_without_models_the_way_is_shown(command: str) -> None:
    """The first thing that somebody without a tandem.yaml sees; `check` does not call nothing fine."""
    result = run(command)
    assert result.exit_code == 1 and "llama-tandem init" in result.stderr


def test_an_unreadable_dotenv_is_named(folder: Path) -> None:
    """It need not even be ours: any project may have one in the working folder."""
    (folder / ".env").write_bytes(b"KEY=\xff\n")
    result = run("check")
    assert (result.exit_code, result.stderr) == (1, "llama-tandem: .env: is not UTF-8 text\n")


def test_plan_prints_a_line_for_a_shell_and_its_notes_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout is exactly what can be run."""
    plan = LaunchPlan("m", ("/opt/llama server", "--port", "1"), {}, (), (Note("fit", "left out"),))
    monkeypatch.setattr("app.cli.check.planned", lambda settings, alias: PlannedStart(plan, None))
    result = run("plan", "m")
    assert (result.exit_code, result.stdout) == (0, "'/opt/llama server' --port 1\n")
    assert result.stderr == "fit: left out\n"


def test_plan_tells_what_the_engine_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr in words, and as JSON with bytes for each device."""
    plan = LaunchPlan("m", ("llama-server", "--port", "1"), {}, (), ())
    footprint = Footprint(
        (
            FootprintPart("target", "weights", "CUDA0", 7_000_000_000),
            FootprintPart("draft", "weights", "CUDA0", 500_000_000),
            FootprintPart("target", "compute", "host", 20_000_000),
            FootprintPart("target", "output", "host", 1_000_000),
        )
    )
    verdict = MemoryVerdict(footprint, {"CUDA0": 6_000_000_000, "host": 10**10}, "CUDA0 needs more", ("no draft",))
    monkeypatch.setattr("app.cli.check.planned", lambda settings, alias: PlannedStart(plan, verdict))
    assert run("plan", "m").stderr == (
        "memory: host 20.03 MiB (buffers 20.03 MiB), CUDA0 6.98 GiB (weights 6.52 GiB, draft weights 476.84 MiB); "
        "it does not fit, even alone: CUDA0 needs more. One of these would make it fit: no draft.\n"
    )
    shown = json.loads(run("plan", "m", "--json").stdout)
    assert shown["footprint"] == {"host": 21_000_000, "CUDA0": 7_500_000_000}
    assert (shown["argv"], shown["fits"], shown["would_fit_with"]) == (
        ["llama-server", "--port", "1"],
        False,
        ["no draft"],
    )


def test_a_plan_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the error, every line with our name."""

    def refuse(settings: Any, alias: str) -> LaunchPlan:
        raise LaunchRefusedError("one\ntwo")

    monkeypatch.setattr("app.cli.check.plan_now", refuse)
    result = run("plan", "m")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "llama-tandem: one\nllama-tandem: two\n")


@pytest.mark.parametrize(("second", "code"), [(True, 0), (False, 1)])
def test_check_ends_with_1_if_one_model_cannot_start(
    second: bool, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every report is printed, those after a bad one too."""
    (folder / "tandem.yaml").write_text(MODELS)

    def inspect(settings: Any, alias: str | None) -> Iterator[CheckReport]:
        yield CheckReport(("a", "  ok"), fine=True, outcome="ok")
        yield CheckReport(("b",), fine=second, outcome="ok" if second else "cannot start")
        yield CheckReport(("c",), fine=True, outcome="ok")

    monkeypatch.setattr("app.cli.check.inspect", inspect)
    tally = "3 models: 3 ok" if second else "3 models: 2 ok, 1 cannot start"
    result = run("check")
    assert (result.exit_code, result.stdout) == (code, f"a\n  ok\nb\nc\n{tally}\n")


@pytest.mark.parametrize(
    ("settings", "args", "url"),
    [
        ("", [], "http://127.0.0.1:8000"),
        ("host: 0.0.0.0\nport: 9\n", [], "http://127.0.0.1:9"),
        ("host: '::'\n", [], "http://127.0.0.1:8000"),
        ("host: '::1'\n", [], "http://[::1]:8000"),
        ("port: many\n", ["--url", "http://there:1/v1/"], "http://there:1/v1/"),
    ],
)
def test_chat_finds_the_gateway_of_the_settings(
    settings: str, args: list[str], url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens on all addresses is reached on this one; with --url the settings do not matter."""
    (folder / "tandem.yaml").write_text(settings + MODELS)
    talked: list[tuple[Any, ...]] = []
    monkeypatch.setattr("app.cli.chat.chat", lambda *arguments, **_: talked.append(arguments) or 0)
    assert run("chat", "org/m", "--system", "Be brief.", *args).exit_code == 0
    assert run("chat", "org/m", "how", "much?", *args).exit_code == 0
    assert talked == [(url, "org/m", "Be brief.", None, None), (url, "org/m", None, None, "how much?")]


def test_stats_without_a_ledger_says_how_to_get_figures(folder: Path) -> None:
    """No failure: nothing has run yet; programs get an empty list."""
    (folder / "tandem.yaml").write_text(f"state_dir: {folder}\n{MODELS}")
    result = run("stats")
    assert result.exit_code == 0 and "Nothing has been measured yet." in result.stdout
    assert run("stats", "--json").stdout == "[]\n"
    unknown = run("stats", "org/n")
    assert (unknown.exit_code, unknown.stdout) == (1, "") and "org/n" in unknown.stderr


def test_chat_has_the_key_of_its_machine_for_its_own_gateway_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is merely named gets the key of a file that is named, too."""
    (folder / "tandem.yaml").write_text(f"state_dir: {folder}\n{MODELS}")
    (folder / "mine").write_text("my-key\n")
    secret, talked = make_local_secret(folder), []
    monkeypatch.setattr("app.cli.chat.chat", lambda *arguments, **_: talked.append(arguments[3]) or 0)
    for args in ([], ["--url", "http://box:1"], ["--url", "http://box:1", "--key-file", "mine"], ["--key-file", "no"]):
        run("chat", "org/m", *args)
    assert talked == [secret, None, "my-key"]


def test_a_key_is_shown_once_and_goes_when_it_is_revoked(folder: Path) -> None:
    """stdout is the key alone, for a script; what is to be known about it stands beside."""
    (folder / "tandem.yaml").write_text(f"state_dir: {folder}\n{MODELS}")
    text = 'There are no keys. Run "llama-tandem keys create --name NAME". After that, every request needs a key.\n'
    assert run("keys", "list").stdout == text
    limits = ["--rpm", "60", "--tpm", "100000", "--concurrency", "4", "--expires", "90d"]
    made = run("keys", "create", "--name", "laptop", "--models", "org/*", *limits)
    assert made.exit_code == 0 and made.stdout.startswith("lt-") and len(made.stdout.split()) == 1
    assert "shown only once" in made.stderr and "every request needs a key" in made.stderr
    row = run("keys", "list").stdout.splitlines()[1].split()
    assert row[:5] == ["laptop", "org/*", "60", "100000", "4"]
    assert run("keys", "create", "--name", "laptop").exit_code == 1
    gone = run("keys", "revoke", "laptop")
    assert gone.stdout == "Revoked laptop.\n" and "Every client is refused: no key is left." in gone.stderr
    assert "Every client is refused: no key is left. Run" in run("keys", "list").stdout
    assert run("keys", "revoke", "laptop").exit_code == 1


def test_lists_of_keys_say_who_gets_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is over is none; with `no_auth` or TANDEM_API_KEYS nobody is shut out."""
    settings = f"state_dir: {folder}\n{MODELS}"
    (folder / "tandem.yaml").write_text(settings)
    run("keys", "create", "--name", "a", "--expires", "1s")
    then = time.time() + 2
    monkeypatch.setattr("app.cli.accounts.time.time", lambda: then)
    listed = run("keys", "list").stdout
    assert "(over)" in listed and "Every client is refused: no key is valid any more." in listed
    run("keys", "revoke", "a")
    (folder / "tandem.yaml").write_text(f"no_auth: true\n{settings}")
    assert run("keys", "list").stdout == "There are no keys, and none is required: no_auth is on.\n"
    (folder / "tandem.yaml").write_text(f"api_keys: a-key-of-some-length\n{settings}")
    assert "TANDEM_API_KEYS" in run("keys", "list").stdout and "refused" not in run("keys", "list").stdout


def test_a_key_for_no_model_is_made_with_a_warning(folder: Path) -> None:
    """The model may come later; a misspelt pattern would go unnoticed."""
    (folder / "tandem.yaml").write_text(f"state_dir: {folder}\n{MODELS}")
    assert "No configured model" in run("keys", "create", "--name", "a", "--models", "ogr/*").stderr
    assert "No model" not in run("keys", "create", "--name", "b", "--models", "org/?", "--admin").stderr
    assert run("keys", "list").stdout.splitlines()[2].split()[2] == "yes"
    assert run("keys", "create", "--name", "c", "--expires", "soon").exit_code == 1
    assert run("keys", "create", "--name", "c", "--rpm", "0").exit_code == 2


def test_usage_sums_by_what_is_asked_for(folder: Path) -> None:
    """As a table, for spreadsheets, for programs; nothing yet is no failure."""
    (folder / "tandem.yaml").write_text(f"state_dir: {folder}\n{MODELS}")
    assert "Nothing has been used yet." in run("usage").stdout
    assert (run("usage", "--json").stdout, run("usage", "--csv").stdout.strip()) == ("[]\n", "")
    rows = {
        ("laptop", "org/m", "2026-01-01"): UsageSums(1, 2, 3, 1, 0, 0.5),
        ("", "org/m", "2026-01-02"): UsageSums(2, 4, 6),
    }
    write_usage(folder, rows, 1767225600.0)
    assert run("usage", "--by", "alias", "--csv").stdout.splitlines() == [
        "alias,requests,tokens_in,tokens_out,cached,drafted,seconds",
        "org/m,3,6,9,1,0,0.5",
    ]
    assert [row["day"] for row in json.loads(run("usage", "--by", "day", "--json").stdout)] == [
        "2026-01-01",
        "2026-01-02",
    ]
    assert [line.split()[:2] for line in run("usage").stdout.splitlines()[1:]] == [["-", "org/m"], ["laptop", "org/m"]]
    for wrong in ("", "key,key", "model", "1; DROP TABLE usage"):
        assert run("usage", "--by", wrong).exit_code == 1


def test_import_prints_a_file_and_tells_the_rest_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout can go straight into a tandem.yaml; flags need no -- before them, and may have one."""
    monkeypatch.setattr("app.cli.check.dialect_at_hand", lambda config: None)
    line = ["./llama-server", "--model", "/m/tiny.gguf", "--port", "9", "--help"]
    result = run("import", *line)
    assert result.exit_code == 0 and result.stdout == "models:\n  tiny:\n    target: {path: /m/tiny.gguf}\n"
    assert [said.split(":")[0] for said in result.stderr.splitlines()] == ["--port 9", "--help", "tiny"]
    assert run("import", "--", *line).output == result.output
    (folder / "tandem.yaml").write_text(result.stdout)
    assert list(load_settings().models) == ["tiny"]


@pytest.mark.parametrize("words", [["llama-server"], ["--", "-m", "x"], ["--config", "no.yaml", "llama-server"], []])
def test_a_line_that_cannot_be_imported_is_exit_code_2(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is missing, and nothing on stdout."""
    monkeypatch.setattr("app.cli.check.locate", lambda setting: pytest.fail("asked"))
    if "--config" not in words:
        monkeypatch.setattr("app.cli.check.dialect_at_hand", lambda config: None)
    result = run("import", *words)
    assert (result.exit_code, result.stdout) == (2, "") and result.stderr


def test_init_writes_once(folder: Path) -> None:
    """A file that is there already is left as it is."""
    first = run("init")
    assert first.exit_code == 0 and f"Wrote {folder / 'tandem.yaml'}." in first.stdout
    (folder / "tandem.yaml").write_text("mine")
    second = run("init")
    assert second.exit_code == 1 and "exists already" in second.stderr
    assert (folder / "tandem.yaml").read_text() == "mine"
