"""Tables as a script sees them."""

import io

import pyte
import pytest

from app.terminal import StatusLine, console, memory_in_words, paint, size_in_words, table, visible, wrapped


def test_without_a_terminal_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """However long: a script reads lines. Brackets in a name are no markup."""
    shown = table("name", "size", left=("name",))
    shown.add_row(f"[bold]{'x' * 300}", "7")
    console().print(shown)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "size"] and row.split() == [f"[bold]{'x' * 300}", "7"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 日本 👨‍👩‍👧\n\tindented", "plain äöü 日本 👨‍👩‍👧\n\tindented"),
        ("\x1b]0;OWNED\x07\x1b[2J", "␛]0;OWNED␇␛[2J"),
        ("\x1b]52;c;aGk=\x1b\\", "␛]52;c;aGk=␛\\"),
        ("\x9b31m\x9d0;x\x9c\x90q", "<U+009B>31m<U+009D>0;x<U+009C><U+0090>q"),
        ("good\rbad\x08\x7f\x00\x0b\x0c", "good␍bad␈␡␀␋␌"),
        ("one\r\ntwo", "one\ntwo"),
        ("safe\u202eexe.\u2066x\u2069\u200f\u061c", "safe<U+202E>exe.<U+2066>x<U+2069><U+200F><U+061C>"),
        ("half \ud83d", "half <U+D83D>"),
    ],
)
def test_controls_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    """C0, C1, OSC, marks that reorder; scripts, emoji, newlines and tabs stay as they are."""
    assert visible(text) == shown


def test_tables_and_lines_show_what_a_server_put_into_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A repo's name comes from the Hub, a model's from a file."""
    shown = table("name", left=("name",))
    shown.add_row("org/\x1b[31mred\nnext")
    console().print(shown)
    console().print("\x1b[2Jgone")
    assert capsys.readouterr().out.splitlines()[1:] == ["org/␛[31mred next", "␛[2Jgone"]


class Screen(io.StringIO):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty NO_COLOR is none: https://no-color.org."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    assert (paint("no", "red", stream=screen) == "\033[31mno\033[0m") is coloured
    shown = table("name", left=("name",))
    shown.add_row("x")
    console(screen).print(shown)
    assert ("\033" in screen.getvalue()) is coloured
    assert paint("no", "red", stream=io.StringIO()) == "no"


def test_a_status_line_is_written_over_without_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer line leaves nothing behind a shorter one, and none is folded."""
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    line = StatusLine(screen)
    line.show("loading 日本 ... 43 % of it")
    line.show("ready")
    line.clear()
    assert "\033" not in screen.getvalue()
    terminal = pyte.Screen(20, 3)
    pyte.Stream(terminal).feed(screen.getvalue())
    assert [text.rstrip() for text in terminal.display] == ["", "", ""] and terminal.cursor.x == 0
    off = io.StringIO()
    StatusLine(off).show("nothing")
    assert off.getvalue() == ""


class Narrow(io.StringIO):
    """A terminal of 40 columns."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("short", "short"),
        (
            "what failed and why it did, then the remedy in words",
            "what failed and why it did, then the\nremedy in words",
        ),
        ("  CANNOT START: a file is missing in that folder", "  CANNOT START: a file is missing in\n    that folder"),
        (
            "/load FILE     go on with a conversation of then",
            "/load FILE     go on with a conversation\n               of then",
        ),
        ("see /a/path/that/is/longer/than/the/terminal.gguf", "see /a/path/that/is/longer/than/the/\nterminal.gguf"),
        (
            "  target     /models/organization/a-model-Q4_K_M.gguf",
            "  target     /models/organization/\n             a-model-Q4_K_M.gguf",
        ),
    ],
)
def test_lines_are_broken_between_words(line: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal alone: what is read by programs keeps its lines."""
    monkeypatch.setattr("app.terminal.columns", lambda _: 40)
    assert wrapped(line, Narrow()) == shown
    assert wrapped(line, io.StringIO()) == line


def test_names_in_a_table_are_broken_at_their_slashes_and_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at any letter; where there is room they stay whole."""
    for columns, lines in ((40, ["bartowski/", "SmolLM2-135M-Instruct-GGUF"]), (20, ["bartowski/", "SmolLM2-135M-"])):
        monkeypatch.setattr("app.terminal.columns", lambda _, wide=columns: wide)
        monkeypatch.setenv("NO_COLOR", "1")
        shown, out = table("repo", "size", left=("repo",)), Narrow()
        shown.add_row("bartowski/SmolLM2-135M-Instruct-GGUF", "98 MB")
        console(out).print(shown)
        rows = [row.split("  ")[0].rstrip() for row in out.getvalue().splitlines()[1:]]
        assert rows[: len(lines)] == lines and "".join(rows) == "bartowski/SmolLM2-135M-Instruct-GGUF"


@pytest.mark.parametrize(
    ("size", "memory", "disk"),
    [
        (0, "0.00 GiB", "0.00 GB"),
        (1, "0.01 MiB", "0.01 MB"),
        (8 << 30, "8.00 GiB", "8.59 GB"),
        (10**9, "953.67 MiB", "1.00 GB"),
        (25_280_000_000, "23.54 GiB", "25.28 GB"),
    ],
)
def test_memory_is_counted_as_drivers_count_it_and_files_as_disks_are_sold(size: int, memory: str, disk: str) -> None:
    assert (memory_in_words(size), size_in_words(size)) == (memory, disk)
