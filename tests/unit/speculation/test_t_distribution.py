"""Student's t, by the tables."""

import pytest

from app.speculation.t_distribution import t_quantile


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042), (1000, 1.962)])
def test_students_t(freedom: int, value: float) -> None:
    """The table's values for 97.5 %."""
    assert t_quantile(0.975, freedom) == pytest.approx(value, abs=1e-3)
