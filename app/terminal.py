"""Tables for a person: as wide as the terminal is, plain and unfolded where there is none."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Without a terminal there is no width to keep to.
_WIDTH = 1000


def console() -> Console:
    """Prints names as they are: no markup, no colours of its own."""
    from rich.console import Console  # late: a gateway prints no table

    output = Console(highlight=False, markup=False)
    return output if output.is_terminal else Console(highlight=False, markup=False, width=_WIDTH)


def table(*columns: str, left: Collection[str]) -> Table:
    """An empty one; the columns that are not `left` are figures."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return made


def size_in_words(size: int, digits: int = 2) -> str:
    """Of bytes, in thousands of thousands as disks are sold; `digits` stand behind the point."""
    if size >= 1e9 or not size:
        return f"{size / 1e9:.{digits}f} GB"
    return f"{max(size / 1e6, 10.0**-digits):.{digits}f} MB"
