"""Whether a model fits, by sizes."""

from dataclasses import replace

import pytest

from app.engine.devices import Device
from app.engine.fit import Fit, basis, fit, needed
from app.engine.memory import Machine

GB = 10**9


def machine(*devices: int, host: int = 64, unified: bool = False) -> Machine:
    gpus = tuple(Device(f"CUDA{number}", "A GPU", size * GB, size * GB) for number, size in enumerate(devices))
    return Machine(gpus, host * GB, unified, "llama-server on PATH")


UNKNOWN = Machine(None, 64 * GB, unified=False, origin="There is no llama-server here.")


@pytest.mark.parametrize(
    ("size", "where", "expected"),
    [
        (20, machine(24), "devices"),
        (40, machine(24, 24), "devices"),
        (24, machine(24), "devices and host"),
        (75, machine(24), "devices and host"),
        (81, machine(24), "no"),
        (50, machine(), "host"),
        (60, machine(), "no"),
        (50, UNKNOWN, "host"),
        (60, UNKNOWN, "no"),
        (40, machine(48, unified=True), "devices"),
        (50, machine(48, unified=True), "host"),
        (60, machine(48, unified=True), "no"),
    ],
)
def test_a_model_goes_where_it_has_room(size: int, where: Machine, expected: Fit) -> None:
    """Devices first, then with the host's memory, which is counted once where it is theirs as well."""
    assert fit(size * GB, where) == expected


def test_a_tenth_is_counted_beside_the_weights() -> None:
    """At least a gibibyte: a tiny model has a context, too."""
    assert needed(0) == 1 << 30 and needed(100 * GB) == 110 * GB


def test_what_it_rests_on_is_said() -> None:
    """Which devices, by whom, or why nobody knows."""
    assert (
        "CUDA0 22.35 GiB, 22.35 GiB of it free (A GPU), CUDA1 11.18 GiB, 11.18 GiB of it free (A GPU) "
        "(llama-server on PATH, --list-devices)" in basis(machine(24, 12))[0]
    )
    assert "no device (" in basis(machine())[0] and "host 59.60 GiB." in basis(machine())[0]
    assert "host 59.60 GiB, 1.00 GiB of it free." in basis(replace(machine(), host_free=1 << 30))[0]
    assert "devices unknown: There is no llama-server here." in basis(UNKNOWN)[0]
    assert "the same memory" in basis(machine(48, unified=True))[0]
