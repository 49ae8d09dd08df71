"""What a stranger may rely on when reading app/: one name means one thing, and each room says what it is for."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from tests.support.paths import ROOT

APP = ROOT / "app"


def test_no_two_classes_share_a_name() -> None:
    places = defaultdict(list)
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 100
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_each_folder_says_what_lives_there() -> None:
    """In a line of its own, then what the folder may import and where to begin reading."""
    folders = [path for path in APP.rglob("*") if path.is_dir() and list(path.glob("*.py"))]
    assert len(folders) > 20
    for folder in folders:
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert "may import" in text and "Begin with" in text, folder


def test_the_map_names_each_module() -> None:
    """docs/design.md is where a stranger begins."""
    _, code, _ = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("```", 2)
    words = set(re.findall(r"\w+", code))
    stems = {path.stem for path in APP.rglob("*.py")} - {"__init__", "__main__"}
    assert stems - words == set()
