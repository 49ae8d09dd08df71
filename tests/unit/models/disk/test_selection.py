"""Which models on disk a name means."""

from pathlib import Path

import pytest

from app.config.settings import Settings
from app.errors import StoreError, UnknownAliasError
from app.models.catalog import Catalog
from app.models.disk.local_model import LocalModel, ModelFile, ModelUse
from app.models.disk.selection import selected

MODELS = {
    "glm": {"target": {"repo": "org/glm", "include": "*Q2*"}, "aliases": ["g"]},
    "far": {"url": "http://127.0.0.1:1"},
}
CATALOG = Catalog(Settings.model_validate({"models": MODELS}))


def local_model(repo: str, name: str, quantization: str, *uses: ModelUse) -> LocalModel:
    return LocalModel(repo, name, quantization, (ModelFile(Path(name), None, 1, 1),), uses)


Q2 = local_model("org/glm", "glm-Q2_K", "Q2_K", ModelUse("glm", "target"))
BF16 = local_model("org/glm", "glm-BF16", "BF16")
PROJECTOR = local_model("org/glm", "mmproj-BF16", "BF16", ModelUse("glm", "mmproj"))
OTHER = local_model("org/other", "o", "")
ABSENT = LocalModel("org/glm", "*Q9*", "", (), (ModelUse("glm", "draft"),))
ALL = [Q2, BF16, PROJECTOR, OTHER, ABSENT]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["glm"], [Q2, PROJECTOR, ABSENT]),
        (["g"], [Q2, PROJECTOR, ABSENT]),
        (["glm:plain"], [Q2, PROJECTOR, ABSENT]),
        (["hf:org/glm"], [Q2, BF16, PROJECTOR]),
        (["hf:org/glm:q2_k"], [Q2]),
        (["hf:org/glm:BF16"], [BF16]),
        (["hf:org/glm:mmproj-BF16"], [PROJECTOR]),
        (["hf:org/other", "glm", "hf:org/glm:Q2_K"], [Q2, PROJECTOR, OTHER, ABSENT]),
    ],
)
def test_names_select_each_model_once(names: list[str], expected: list[LocalModel]) -> None:
    """An alias means all that it needs; a projector has the quantization of no model."""
    assert selected(ALL, CATALOG, names) == expected


def test_what_is_not_here_is_said_with_what_is() -> None:
    with pytest.raises(StoreError, match=r"hf:org/glm:Q9 is not on this machine, which has BF16, Q2_K, mmproj-BF16"):
        selected(ALL, CATALOG, ["hf:org/glm:Q9"])
    with pytest.raises(StoreError, match="nothing of this repo"):
        selected(ALL, CATALOG, ["hf:org/none"])
    with pytest.raises(StoreError, match="is attached at"):
        selected(ALL, CATALOG, ["far"])
    with pytest.raises(UnknownAliasError):
        selected(ALL, CATALOG, ["nope"])
