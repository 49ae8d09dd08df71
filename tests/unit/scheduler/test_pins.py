"""What pinned models leave for the others is told before anybody is refused."""

import pytest

from app.scheduler.pins import pin_warnings
from app.scheduler.residency import Residency
from app.scheduler.room import UNCAPPED

PINNED, FREE = Residency(pin=True), Residency()
GIB = 2**30


@pytest.mark.parametrize(
    ("models", "places", "warnings"),
    [
        ({"a": FREE, "b": FREE}, 1, []),
        ({"a": PINNED, "b": FREE}, 2, []),
        ({"a": PINNED}, 1, []),
        (
            {"a": PINNED, "b": PINNED, "c": FREE, "d": FREE},
            2,
            ["pin: a and b take all of max_loaded (2) once up: no place is left for c and d"],
        ),
        ({"a": PINNED, "b": PINNED}, 1, ["pin: a and b are pinned, and max_loaded is 1: they cannot all be up"]),
        (
            {"a": Residency(pin=True, exclusive=True), "b": FREE},
            9,
            ["pin: a is exclusive and pinned: once it is up nothing else can be loaded"],
        ),
        (
            {"p": PINNED} | {f"m{at}": FREE for at in range(6)},
            1,
            ["pin: p takes all of max_loaded (1) once up: no place is left for m0, m1, m2, m3 and 2 more"],
        ),
    ],
)
def test_pins_that_take_every_place(models: dict[str, Residency], places: int, warnings: list[str]) -> None:
    assert list(pin_warnings(models, places, {}, {})) == warnings


@pytest.mark.parametrize(
    ("sizes", "warnings"),
    [
        ({"a": 4, "b": 4, "c": 2}, []),
        ({"a": 4, "b": 4, "c": 3, "d": 11}, ["pin: a and b leave too little memory for c once up"]),
        (
            {"a": 6, "b": 5, "c": 1},
            ["pin: a and b need 11.00 GiB of CUDA0, and its budget is 10.00 GiB: they cannot all be up"],
        ),
        ({"a": 5, "b": 5}, ["pin: a and b take nearly all of the budget of CUDA0 once up"]),
    ],
)
def test_pins_that_take_the_memory(sizes: dict[str, int], warnings: list[str]) -> None:
    """What nobody knows of yet is no reason to say that there is room; what fits nowhere is told elsewhere."""
    models = {"a": PINNED, "b": PINNED, "c": FREE, "d": FREE}
    needs = {alias: {"CUDA0": size * GIB} for alias, size in sizes.items()}
    assert list(pin_warnings(models, UNCAPPED, needs, {"CUDA0": 10 * GIB})) == warnings
