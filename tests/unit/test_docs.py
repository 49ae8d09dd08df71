"""The documentation: its reference is current, its links lead somewhere, and README leads to all of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.config.model_entry import AttachedEntry, DraftFiles, LocalEntry
from app.config.settings import Settings
from app.config.speculation import MODES
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


@pytest.mark.parametrize(("page", "most"), [("README.md", 150), ("docs/design.md", 200)])
def test_pages_that_are_read_first_are_short(page: str, most: int) -> None:
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) < most
