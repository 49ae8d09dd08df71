"""Tables as a script sees them."""

import pytest

from app.terminal import console, table


def test_without_a_terminal_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """However long: a script reads lines. Brackets in a name are no markup."""
    shown = table("name", "size", left=("name",))
    shown.add_row(f"[bold]{'x' * 300}", "7")
    console().print(shown)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "size"] and row.split() == [f"[bold]{'x' * 300}", "7"]
