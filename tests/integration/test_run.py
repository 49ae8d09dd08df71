"""`run` from a name to a chat: the real program in a terminal, a fake engine, a fake Hub; nothing is left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pexpect
import psutil
import pytest

from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import eventually, fake_llama_server, header_only
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model
from tests.support.ports import free_port
from tests.support.screen import TerminalProgram

REPO = "acme/Tiny-GGUF"


class RunFolder:
    """A working folder with a fake engine, a Hub, and ports of its own."""

    def __init__(self, folder: Path, hub: FakeHub) -> None:
        self.folder, self.hub = folder, hub
        self.settings: dict[str, Any] = {"llama_server": str(fake_llama_server(folder)), "stop_grace": 2}
        self.settings |= {"port": free_port(), "engine_port": free_port()}
        self.write()

    def write(self, **models: Any) -> None:
        (self.folder / "tandem.yaml").write_text(json.dumps(self.settings | {"models": models}))

    @property
    def env(self) -> dict[str, str]:
        return hub_variables(self.hub, self.folder) | {"HOME": str(self.folder)}

    def terminal(self, *words: str, columns: int = 100, **env: str) -> TerminalProgram:
        return TerminalProgram(self.folder, "run", *words, columns=columns, env=self.env | env)

    def left(self) -> list[psutil.Process]:
        """Processes that were started with this folder in their command line or environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def gateways(self) -> list[psutil.Process]:
        """Those of `left` that serve."""
        found = []
        for process in self.left():
            with suppress(psutil.Error):  # it has just ended
                if "serve" in process.cmdline():
                    found.append(process)
        return found


@pytest.fixture
def here(tmp_path: Path) -> Iterator[RunFolder]:
    with FakeHub() as hub:
        hub.add(REPO, {f"tiny-{name}.gguf": model() for name in ("Q4_K_M", "Q8_0")})
        folder = RunFolder(tmp_path, hub)
        yield folder
        for process in folder.left():
            process.kill()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_repo_is_pulled_loaded_and_talked_to(columns: int, here: RunFolder) -> None:
    """In one command; the gateway and its engine end with it, and the second time nothing is fetched."""
    with here.terminal(REPO, columns=columns) as terminal:
        terminal.see("takes Q4_K_M")
        terminal.see("Chatting with acme/Tiny.")
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("16 tokens")
        assert len(here.left()) > 1
        terminal.type("\x04")
        assert terminal.end() == 0 and "Traceback" not in terminal.screen
    eventually(lambda: not here.left())
    here.hub.fetched.clear()
    with here.terminal(REPO, columns=columns) as terminal:
        terminal.see("Chatting with acme/Tiny.")
        terminal.see("\n>")
        terminal.type("/bye\r")
        assert terminal.end() == 0 and not here.hub.fetched
    eventually(lambda: not here.left())


def test_an_alias_a_file_and_the_only_model(here: RunFolder) -> None:
    """A question is answered on stdout alone, and the exit code is that of the answer."""
    path = header_only(here.folder / "my file.gguf")
    here.write(m={"target": {"path": str(path)}})
    for words in (["m", "how", "much?"], ["my file.gguf", "how much?"], ["m"]):
        command = [sys.executable, "-m", "app", "run", *words]
        done = subprocess.run(
            command,
            cwd=here.folder,
            env=environment(here),
            input="" if len(words) > 1 else "piped",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("t0 t1 "), done.stderr
    with here.terminal() as terminal:
        terminal.see("Running m.")
        terminal.see("Chatting with m.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0
    eventually(lambda: not here.left())


def environment(here: RunFolder) -> dict[str, str]:
    import os

    from tests.support.paths import ROOT

    own = {name: value for name, value in os.environ.items() if not name.startswith(("TANDEM_", "HF_"))}
    own |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    own |= {"XDG_STATE_HOME": str(here.folder / "state"), "XDG_CACHE_HOME": str(here.folder / "cache")}
    return own | here.env


def test_several_models_are_offered(here: RunFolder) -> None:
    """By number or name; a wrong one is asked for again."""
    path = str(header_only(here.folder / "m.gguf"))
    here.write(one={"target": {"path": path}}, two={"target": {"path": path}})
    with here.terminal() as terminal:
        terminal.see("Which model? [1]")
        terminal.type("9\r")
        terminal.see("Unknown choice 9")
        terminal.type("two\r")
        terminal.see("Chatting with two.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0
    eventually(lambda: not here.left())


def test_ctrl_c_while_it_loads_leaves_nothing_behind(here: RunFolder) -> None:
    """The bar moves until then; a second run goes on."""
    go = here.folder / "go"
    entry = {"target": {"path": str(header_only(here.folder / "m.gguf"))}, "args": ["--load-until", str(go)]}
    here.write(m=entry)
    with here.terminal("m", NO_COLOR="1") as terminal:
        terminal.see("loading m")
        terminal.type("\x03")
        assert terminal.end() == 130 and "\x1b" not in terminal.raw
    eventually(lambda: not here.left())
    go.touch()
    with here.terminal("m") as terminal:
        terminal.see("Chatting with m.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_ctrl_c_while_its_gateway_starts_leaves_nothing_behind(here: RunFolder) -> None:
    """As soon as there is one."""
    here.write(m={"target": {"path": str(header_only(here.folder / "m.gguf"))}})
    with here.terminal("m") as terminal:
        while not here.gateways():
            terminal.read(0.02)
        terminal.type("\x03")
        assert terminal.end() == 130 and "Traceback" not in terminal.screen
    eventually(lambda: not here.left())


def test_ctrl_c_while_it_asks_which_model(here: RunFolder) -> None:
    """Nothing has been started by then."""
    path = str(header_only(here.folder / "m.gguf"))
    here.write(one={"target": {"path": path}}, two={"target": {"path": path}})
    with here.terminal() as terminal:
        terminal.see("Which model? [1]")
        terminal.type("\x03")
        assert terminal.end() in (1, 130) and "Traceback" not in terminal.screen
    assert not here.left()


def test_ctrl_c_in_an_answer(here: RunFolder) -> None:
    """It stops a single answer with 130, and in a chat the answer alone; what was started ends with `run`."""
    path = str(header_only(here.folder / "m.gguf"))
    here.write(m={"target": {"path": path}, "args": ["--tps", "5", "--tokens", "200"]})
    with here.terminal("m", "a question") as terminal:
        terminal.see("t3")
        terminal.type("\x03")
        assert terminal.end() == 130 and "Traceback" not in terminal.screen
    eventually(lambda: not here.left())
    with here.terminal("m") as terminal:
        terminal.see("\n>")
        terminal.type("long\r")
        terminal.see("t3")
        terminal.type("\x03")
        terminal.see("(stopped)")
        terminal.see("\n>", times=2)
        terminal.type("/bye\r")
        assert terminal.end() == 0
    eventually(lambda: not here.left())


def test_ctrl_c_while_it_ends_makes_it_hurry(here: RunFolder) -> None:
    """An engine that takes no notice of SIGTERM keeps nobody waiting."""
    path = str(header_only(here.folder / "m.gguf"))
    here.settings["stop_grace"] = 30
    here.write(m={"target": {"path": path}, "args": ["--ignore-sigterm"]})
    with here.terminal("m") as terminal:
        terminal.see("\n>")
        terminal.type("/bye\r")
        began = time.monotonic()
        with pytest.raises(pexpect.EOF):
            while time.monotonic() < began + 25:
                terminal.type("\x03")
                terminal.read(1)
        assert "Traceback" not in terminal.screen
    eventually(lambda: not here.left())


def test_its_gateway_dies(here: RunFolder) -> None:
    """Each is told what to do: the conversation can be saved, and a second `run` goes on."""
    here.write(m={"target": {"path": str(header_only(here.folder / "m.gguf"))}})
    with here.terminal("m") as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("16 tokens")
        terminal.see("\n>", times=2)
        for process in here.gateways():
            process.kill()
        eventually(lambda: not here.gateways())
        terminal.type("again\r")
        terminal.see("No gateway answers at")
        terminal.see("run the command again")
        terminal.see("\n>", times=3)
        terminal.type("/save said.json\r")
        terminal.see("Wrote said.json")
        terminal.see("\n>", times=4)
        terminal.type("/bye\r")
        assert terminal.end() == 0
    eventually(lambda: not here.left())


def test_ctrl_c_while_it_pulls_leaves_what_came(here: RunFolder) -> None:
    """The next run goes on from there."""
    here.hub.add("acme/Big-GGUF", {"big-Q4_K_M.gguf": model(30 << 20)})
    here.hub.order("big-Q4_K_M.gguf", Fault(rate=2 << 20, stays=True))
    with here.terminal("acme/Big-GGUF") as terminal:
        terminal.see("big-Q4_K_M.gguf")
        terminal.type("\x03")
        assert terminal.end() == 130 and "Traceback" not in terminal.screen
    eventually(lambda: not here.left())
    here.hub.faults.clear()
    with here.terminal("acme/Big-GGUF") as terminal:
        terminal.see("Chatting with acme/Big.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_killed_run_takes_its_gateway_with_it(here: RunFolder) -> None:
    """`kill -9` of the command, no chance to say goodbye."""
    here.write(m={"target": {"path": str(header_only(here.folder / "m.gguf"))}})
    with here.terminal("m") as terminal:
        terminal.see("Chatting with m.")
        terminal.see("\n>")
        psutil.Process(terminal.pid).send_signal(signal.SIGKILL)
        eventually(lambda: not here.left())


def test_a_model_that_cannot_start_is_told_with_its_reason(here: RunFolder) -> None:
    """And everything ends."""
    entry = {"target": {"path": str(header_only(here.folder / "m.gguf"))}, "args": ["--fail-load", "memory-kv"]}
    here.write(m=entry)
    with here.terminal("m") as terminal:
        assert terminal.end() == 1
        assert "cannot start" in terminal.screen and "    | " in terminal.screen
    eventually(lambda: not here.left())


def test_keep_leaves_the_gateway(here: RunFolder) -> None:
    """And says where it is; the next run uses it."""
    here.write(m={"target": {"path": str(header_only(here.folder / "m.gguf"))}})
    with here.terminal("m", "--keep") as terminal:
        terminal.see("The gateway stays at")
        terminal.see("Chatting with m.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0
    kept = len(here.left())
    assert kept >= 2
    with here.terminal("m") as terminal:
        terminal.see("Chatting with m.")
        terminal.see("\n>")
        assert len([process for process in here.left() if "serve" in process.cmdline()]) == 1
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_gateway_that_runs_is_used(here: RunFolder) -> None:
    """The model is in its memory for as long as `run` lasts, or with --keep until the gateway ends."""
    here.write(m={"target": {"path": str(header_only(here.folder / "m.gguf"))}})

    def serving() -> int:
        return len([process for process in here.left() if "serve" in process.cmdline()])

    with here.terminal("m", "--keep") as terminal:
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0
    file = str(header_only(here.folder / "other.gguf"))
    for words, stays in ([], False), (["--keep"], True), ([], True):
        with here.terminal(file, *words) as terminal:
            terminal.see("Chatting with other.")
            terminal.see("\n>")
            assert serving() == 1 and "other" in models(here)
            terminal.type("\x04")
            assert terminal.end() == 0
        assert ("other" in models(here)) is stays and serving() == 1


def models(here: RunFolder) -> list[str]:
    rows = httpx2.get(f"http://127.0.0.1:{here.settings['port']}/v1/models", trust_env=False).json()["data"]
    return [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "is no repo"),
        ("no/where", "not on the Hub"),
        ("gone.gguf", "There is no file"),
        ("bad.gguf", "bad"),
    ],
)
def test_what_cannot_be_run_is_named(name: str, words: str, here: RunFolder) -> None:
    """Before anything is started."""
    (here.folder / "bad.gguf").write_bytes(b"no model")
    with here.terminal(name) as terminal:
        assert terminal.end() == 1
        assert words in terminal.screen.replace("\n", "") and "Traceback" not in terminal.screen
    assert not here.left()


def test_save_writes_the_entry(here: RunFolder) -> None:
    """The next run needs the alias alone."""
    with here.terminal(REPO, "--save") as terminal:
        terminal.see("Chatting with acme/Tiny.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0
    with here.terminal("acme/Tiny") as terminal:
        terminal.see("Chatting with acme/Tiny.")
        terminal.see("\n>")
        terminal.type("\x04")
        assert terminal.end() == 0
