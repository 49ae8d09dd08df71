"""The documentation: its reference is current, its links lead somewhere, and README leads to all of it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer

from app.api import prometheus
from app.api.formats import status_codes
from app.cli import cli
from app.config.model_entry import AttachedEntry, DraftFiles, LocalEntry
from app.config.settings import Settings
from app.config.speculation import MODES
from app.records.metrics import Metrics
from tests.support.paths import ROOT

README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]


def _links(page: Path) -> list[str]:
    """Targets of links that stay in the project; code is not read."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def _commands(page: Path) -> list[list[str]]:
    """Each `llama-tandem ...` of the console blocks, as a shell splits it."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.findall(r"(?:\$ |\| )(llama-tandem .*)", block)]
    return [shlex.split(re.split(r" [>|] ", line)[0], comments=True)[1:] for line in lines]


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_reference_is_current(columns: str) -> None:
    """Whatever the width of the terminal."""
    script = [sys.executable, str(ROOT / "scripts" / "write-reference"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "COLUMNS": columns})
    assert done.stderr == "" and done.returncode == 0


def test_the_reference_has_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    keys = {*Settings.model_fields, *LocalEntry.model_fields, *AttachedEntry.model_fields, *DraftFiles.model_fields}
    assert {key for key in (*keys, *MODES) if f"| `{key}` |" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_readme_leads_to_every_page() -> None:
    seen: set[Path] = set()
    waiting = [README]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in _links(page) if link[0] != "#"]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []


def test_every_page_is_two_links_from_readme() -> None:
    near = {README}
    for _ in range(2):
        links = {(page.parent / link.partition("#")[0]).resolve() for page in near for link in _links(page)}
        near |= {page for page in links if page.suffix == ".md"}
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in near] == []


@pytest.mark.parametrize(("page", "most"), [("README.md", 150), ("docs/design.md", 200)])
def test_pages_that_are_read_first_are_short(page: str, most: int) -> None:
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) < most


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_those_that_there_are(page: Path) -> None:
    """With their options; `import` reads another program's."""
    for words in _commands(page):
        group: Any = typer.main.get_command(cli)
        if words[0] == "import":
            continue
        command = group.commands[words[0]]
        if hasattr(command, "commands"):
            command, words = command.commands[words[1]], words[1:]
        known = {option for param in command.params for option in (*param.opts, "--help")}
        assert [word for word in words[1:] if word.startswith("-") and word not in known] == [], words


def test_pages_hold_commands() -> None:
    """Else the test above looks at nothing."""
    assert sum(len(_commands(page)) for page in PAGES) > 25


def test_every_503_is_explained() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    codes = {error.code for error in status_codes._BY_CLASS.values() if error.status == 503}
    assert len(codes) > 5
    assert {code for code in codes if f"| `{code}` |" not in page} == set()


def _table_of_api(heading: str) -> str:
    """A chapter of docs/api.md."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_api_page_lists_every_error_code() -> None:
    codes = {error.code for error in status_codes._BY_CLASS.values()} | {status_codes._UNFORESEEN.code}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app" / "api").rglob("*.py"))
    codes |= set(re.findall(r'HttpError\(\d+, "\w+", "(\w+)"', source))
    assert len(codes) > 30
    assert {code for code in codes if f"`{code}`" not in _table_of_api("Errors")} == set()


def test_api_page_gives_each_error_its_status() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", _table_of_api("Errors"), re.MULTILINE)
    documented = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert {(error.status, error.code) for error in status_codes._BY_CLASS.values()} - documented == set()


def test_api_page_lists_every_header() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    headers = set(re.findall(r'b?"(x-tandem-[a-z]+|x-request-id|x-should-retry)"', source))
    assert len(headers) > 4
    assert {name for name in headers if f"`{name}" not in _table_of_api("Headers")} == set()


def test_api_page_lists_every_metric_with_its_labels() -> None:
    class Idle:
        waiting: ClassVar[dict[str, int]] = {}

        def statuses(self) -> list[Any]:
            return []

    rows = re.findall(r"^\| `(\w+)` \|(.*?)\| (\w+)", _table_of_api("Metrics"), re.MULTILINE)
    documented = {name: (re.findall(r"`(\w+)`", labels), kind) for name, labels, kind in rows}
    families = list(prometheus._Values(Metrics(), Idle()).collect())  # type: ignore[arg-type]
    assert len(families) > 10
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = list(family._labelnames)  # type: ignore[attr-defined]
        assert documented[name] == (labels, family.type)
