"""Estimators of earlier work do what they say, on points small enough to see through."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fitting.reproduction import binned_min, log_log_line, pareto_bins, pareto_points


def test_a_line_in_logarithms_is_found_exactly() -> None:
    x = np.geomspace(1e10, 1e14, 7)
    line = log_log_line(x, 3.5 * x**-0.12)
    assert line.exponent == pytest.approx(-0.12, rel=1e-10) and line.scale == pytest.approx(3.5, rel=1e-9)
    assert float(line.predict(1e12)) == pytest.approx(3.5 * 1e12**-0.12)


def test_the_least_error_of_each_bin_stands_at_its_centre() -> None:
    x = 10 ** np.asarray([0.0, 0.2, 1.4, 1.6, 3.9])
    best = binned_min(x, [0.9, 0.8, 0.5, 0.6, 0.1], num_bins=4, beyond=0.1)
    np.testing.assert_allclose(np.log10(best.x_B), [0.5, 1.5, 3.5])  # the third bin is empty
    assert best.error_B.tolist() == [0.8, 0.5, 0.1]


def test_without_widening_the_largest_x_falls_into_the_last_bin() -> None:
    best = binned_min([1.0, 10.0, 100.0], [0.9, 0.5, 0.1], num_bins=2, beyond=0.0)
    assert best.error_B.tolist() == [0.9, 0.1]


def test_pareto_points_are_beaten_by_no_cheaper_one() -> None:
    best = pareto_points([1.0, 1.0, 2.0, 3.0, 4.0], [0.9, 0.8, 0.85, 0.5, 0.5])
    assert best.x_B.tolist() == [1.0, 3.0] and best.error_B.tolist() == [0.8, 0.5]


def test_pareto_bins_keep_one_point_of_each_factor_where_it_lies() -> None:
    best = pareto_bins([1.0, 1.5, 2.0, 3.9, 4.0, 9.0], [0.9, 0.7, 0.8, 0.6, 0.65, 0.3], factor=2.0)
    assert best.x_B.tolist() == [1.5, 3.9, 9.0] and best.error_B.tolist() == [0.7, 0.6, 0.3]


@pytest.mark.parametrize(
    "columns", [([], []), ([1.0, 2.0], [0.5]), ([1.0, 2.0], [0.5, 0.0]), ([1.0, np.nan], [1.0, 1.0])]
)
def test_columns_that_have_no_logarithm_are_refused(columns: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError):
        binned_min(*columns)


def test_one_x_is_no_line() -> None:
    with pytest.raises(ValueError, match="two distinct x"):
        log_log_line([1e10, 1e10], [0.5, 0.4])
