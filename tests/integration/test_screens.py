"""What a person sees, kept as text in tests/data/screens: the real program in a terminal of 80 and 120 columns.

`SCREENS=write pytest tests/integration/test_screens.py` writes them anew: look at each before it is committed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_hub import FakeHub, Fault
from tests.support.fake_hub.repos import File
from tests.support.gateway import Gateway, eventually, fake_llama_server
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.screen import TerminalProgram

Make = Callable[..., Gateway]
SCREENS = ROOT / "tests" / "data" / "screens"
WIDTHS = pytest.mark.parametrize("columns", [80, 120])
REPO = "acme/Tiny-GGUF"
# What differs from run to run, by a sign for each
_CHANGES = (
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "HH:MM:SS"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s)\b"), "N s"),
    (re.compile(r"\b\d+(\.\d+)? tok/s"), "N tok/s"),
    (re.compile(r"\b(process|pid|PID) \d+"), r"\1 N"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\d+(\.\d+)? (k|M|G)B/s"), "N MB/s"),
    (re.compile(r"\d+(\.\d+)? GB( of memory)?(?= free| here| is| of)"), "N GB"),
    # Where a line breaks behind it depends on its digits
    (
        re.compile(r"but\s+\d+(\.\d+)?\s+[GM]B\s+are\s+free\.\s+Make\s+room,\s+or\s+point\s+models_dir\s+elsewhere\."),
        "but N GB are free. Make room, or point models_dir elsewhere.",
    ),
    (re.compile(r"^(m +ready +(?:- +)?)[^\n]*$", re.M), r"\1..."),
)


def same(name: str, columns: int, screen: str, *folders: Path) -> None:
    """Compares a screen with the one that is kept; lines that are wrapped at a path count as they are."""
    for folder in folders:
        screen = screen.replace(str(folder), "/here")
    for pattern, sign in _CHANGES:
        screen = pattern.sub(sign, screen)
    screen = "\n".join(line.rstrip() for line in screen.splitlines()).strip("\n") + "\n"
    kept = SCREENS / f"{name}-{columns}.txt"
    if os.environ.get("SCREENS") == "write":
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(screen, encoding="utf-8")
    assert screen == kept.read_text(encoding="utf-8")


class ScreenFolder:
    """A working folder at a path that is as long on every machine, so that lines break at the same places."""

    def __init__(self, folder: Path, hub: FakeHub) -> None:
        self.folder, self.hub = folder, hub
        self.settings: dict[str, Any] = {"llama_server": str(fake_llama_server(folder)), "stop_grace": 2}
        # The same on every machine
        self.settings |= {"memory": {"host": "4GiB"}}
        self.settings |= {"port": free_port(), "engine_port": free_port()}

    def write(self, **models: Any) -> None:
        (self.folder / "tandem.yaml").write_text(json.dumps(self.settings | {"models": models}))

    def terminal(self, *words: str, columns: int, **env: str) -> TerminalProgram:
        own = hub_variables(self.hub, self.folder) | {"HOME": str(self.folder), "NO_COLOR": "1"}
        return TerminalProgram(self.folder, *words, columns=columns, env=own | env)


@pytest.fixture
def here() -> Iterator[ScreenFolder]:
    folder = Path(f"/tmp/lt-screen-{os.getpid() % 100000:05}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with FakeHub() as hub:
        hub.add(REPO, {f"tiny-{name}.gguf": model() for name in ("Q4_K_M", "Q8_0")})
        yield ScreenFolder(folder, hub)
    shutil.rmtree(folder, ignore_errors=True)


def ended(here: ScreenFolder, columns: int, *words: str, code: int = 0, **env: str) -> str:
    with here.terminal(*words, columns=columns, **env) as terminal:
        assert terminal.end() == code, terminal.screen
        assert "\x1b" not in terminal.raw and "Traceback" not in terminal.screen
        return terminal.screen


@WIDTHS
def test_init_and_check(columns: int, here: ScreenFolder) -> None:
    for name in ("tiny-Q4_K_M.gguf", "a-longer-name-of-a-model-Q8_0.gguf"):
        (here.folder / "models").mkdir(exist_ok=True)
        (here.folder / "models" / name).write_bytes(model())
    same("init", columns, ended(here, columns, "init", "--from-folder", "models"), here.folder)
    here.write(
        fine={"target": {"path": "models/tiny-Q4_K_M.gguf"}},
        gone={"target": {"path": "models/gone.gguf"}},
        server={"url": "http://127.0.0.1:9"},
    )
    same("check", columns, ended(here, columns, "check", code=1), here.folder)


@WIDTHS
def test_pull(columns: int, here: ScreenFolder) -> None:
    here.write()
    with here.terminal("pull", REPO, columns=columns) as terminal:
        terminal.see("[Y/n]")
        terminal.type("n\r")
        assert terminal.end() == 0
        same("pull", columns, terminal.screen, here.folder)


@WIDTHS
def test_pull_without_a_network(columns: int, here: ScreenFolder) -> None:
    here.write()
    screen = ended(here, columns, "pull", REPO, code=1, HF_ENDPOINT="http://127.0.0.1:9")
    same("pull-no-network", columns, screen, here.folder)


@WIDTHS
def test_run_without_a_network(columns: int, here: ScreenFolder) -> None:
    """What to do about it, and no half-way entry or gateway."""
    here.write()
    screen = ended(here, columns, "run", REPO, code=1, HF_ENDPOINT="http://127.0.0.1:9")
    same("run-no-network", columns, screen, here.folder)


@WIDTHS
def test_a_full_disk(columns: int, here: ScreenFolder) -> None:
    """Known before the first byte is fetched."""
    here.write()
    here.hub.add("acme/Huge-GGUF", {"huge-Q4_K_M.gguf": File(model(), said_size=10**18)})
    for command in ("pull", "run"):
        screen = ended(here, columns, command, "acme/Huge-GGUF", code=1)
        assert not here.hub.fetched
        same(f"{command}-no-disk", columns, screen, here.folder)


def test_a_bar_survives_a_terminal_that_is_resized(here: ScreenFolder) -> None:
    """Wider, then narrower than any line: what ends stands whole, and nothing of the bar is left behind."""
    here.write()
    here.hub.add("acme/Big-GGUF", {"big-Q4_K_M.gguf": model(12 << 20)})
    here.hub.order("big-Q4_K_M.gguf", Fault(rate=4 << 20, stays=True))
    with here.terminal("pull", "acme/Big-GGUF", columns=100) as terminal:
        terminal.see("%")
        for width in (120, 60, 80):
            terminal.resize(width)
            terminal.read(0.4)
        terminal.see("[Y/n]")
        terminal.type("n\r")
        assert terminal.end() == 0 and "Traceback" not in terminal.screen
        same("pull-resized", 80, terminal.screen, here.folder)


@WIDTHS
def test_chat(columns: int, here: ScreenFolder, make_gateway: Make) -> None:
    """A question, an unknown command, Ctrl-C at a line and at an empty one, another model, and the end."""
    with talking(here, columns, make_gateway()) as terminal:
        terminal.type("hello\r")
        terminal.see("16 tokens")
        terminal.see("\n>", times=2)
        terminal.type("/exti\r")
        terminal.see("No command")
        terminal.see("\n>", times=3)
        terminal.type("half a line")
        terminal.see("half a line")
        terminal.type("\x03")
        terminal.see("\n>", times=4)
        terminal.type("\x03")
        terminal.see("/bye leaves.")
        terminal.see("\n>", times=5)
        terminal.type("/model mm\r")
        terminal.see("not found")
        terminal.see("\n>", times=6)
        terminal.type("/bye\r")
        assert terminal.end() == 0
        same("chat", columns, terminal.screen, here.folder)


@WIDTHS
def test_chat_with_a_gateway_that_dies(columns: int, here: ScreenFolder, make_gateway: Make) -> None:
    """In the middle of an answer, then at the next question."""
    gateway = make_gateway(args=["--tokens", "6", "--end-seconds", "60"])
    with talking(here, columns, gateway) as terminal:
        terminal.type("hello\r")
        terminal.see("t4")
        gateway.process.kill()
        terminal.see("was interrupted")
        terminal.see("\n>", times=2)
        terminal.type("again\r")
        terminal.see("No gateway answers")
        terminal.see("\n>", times=3)
        terminal.type("\x04")
        assert terminal.end() == 0
        same("chat-gateway-dies", columns, terminal.screen, here.folder)


@contextmanager
def talking(here: ScreenFolder, columns: int, gateway: Gateway) -> Iterator[TerminalProgram]:
    """A chat that waits for its first line."""
    eventually(lambda: gateway.state() == "ready")
    words = ("chat", "--config", str(gateway.config), "--url", gateway.url)
    with here.terminal(*words, columns=columns) as terminal:
        terminal.see("\n>")
        yield terminal


@WIDTHS
def test_run_and_chat(columns: int, here: ScreenFolder) -> None:
    here.write()
    with here.terminal("run", REPO, columns=columns) as terminal:
        terminal.see("\n>")
        terminal.type("hello\r")
        terminal.see("16 tokens")
        terminal.type("/help\r")
        terminal.see("/bye")
        terminal.type("/bye\r")
        assert terminal.end() == 0
        same("run", columns, terminal.screen, here.folder)


@WIDTHS
def test_ps_and_logs(columns: int, here: ScreenFolder, make_gateway: Make) -> None:
    gateway = make_gateway(port=here.settings["port"])
    eventually(lambda: gateway.state() == "ready")
    gateway.chat()
    config = ("--config", str(gateway.config))
    # As wide as the process's number is long
    table = re.sub(" {2,}", "  ", ended(here, columns, "ps", *config))
    same("ps", columns, table, gateway.folder, here.folder)
    screen = ended(here, columns, "logs", "-n", "1", *config)
    assert re.search(r"200 chat  m  10 -> 16 tok", screen)
