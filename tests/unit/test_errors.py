"""The exception tree: what holds for every one of them."""

import json
from pathlib import Path

import pytest

from app import errors
from app.config.model_entry import Files, LocalEntry
from app.config.settings import Settings
from app.errors import FilesMissingError, TandemError
from app.models.catalog import Catalog


def below(kind: type[TandemError]) -> list[type[TandemError]]:
    return [found for child in kind.__subclasses__() for found in (child, *below(child))]


def test_the_tree_in_words_is_the_tree() -> None:
    """The page at the top of the file names every class with what it is about."""
    assert len(below(TandemError)) > 10
    for kind in below(TandemError):
        assert f"─ {kind.__name__} " in f"{errors.__doc__} ".replace("\n", " ") and kind.__doc__
        if kind.__module__.startswith("app.errors."):
            assert getattr(errors, kind.__name__) is kind


def test_a_name_that_is_no_text_can_still_be_told(tmp_path: Path) -> None:
    """A file's name may be bytes that are no UTF-8, which Python passes on and no JSON, log or database takes."""
    try:
        (tmp_path / "a-\udcff.gguf").touch()
    except OSError:
        pytest.skip("this file system takes text only")
    files = Files(repo="org/name", include="*Q4*")
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").symlink_to(tmp_path, target_is_directory=True)
    catalog = Catalog(Settings(models_dir=tmp_path, models={"m": LocalEntry(target=files)}))
    with pytest.raises(FilesMissingError, match=r"There are: a-.\.gguf") as caught:
        catalog.spec(catalog.resolve("m"))
    json.dumps(str(caught.value), ensure_ascii=False).encode()
