"""The distribution of estimate / cluster-robust standard error, against t and against draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.comparison.reference import equivalent_degrees_of_freedom, tail


@pytest.mark.parametrize("degrees", [1, 2, 4, 10])
def test_equal_eigenvalues_give_student_t(degrees: int) -> None:
    quantile = float(stats.t.ppf(0.975, degrees))
    assert tail(quantile, np.ones(degrees)) == pytest.approx(0.05, abs=1e-6)
    loading = np.concatenate([np.eye(degrees), np.zeros((2, degrees))])  # two clusters that carry nothing
    assert equivalent_degrees_of_freedom(loading, 0.95) == pytest.approx(degrees, rel=1e-3)


def test_unequal_eigenvalues_give_the_quantile_of_drawn_worlds() -> None:
    rng = np.random.default_rng(0)
    shares = np.asarray([0.71, 0.21, 0.08])
    variance = rng.chisquare(1, (400_000, 3)) @ shares
    drawn = np.quantile(np.abs(rng.normal(size=400_000)) / np.sqrt(variance), 0.95)
    assert tail(float(drawn), shares) == pytest.approx(0.05, abs=0.001)
    satterthwaite = stats.t.ppf(0.975, 1 / np.sum(shares**2))
    assert satterthwaite > 1.2 * drawn  # what the exact tail saves


def test_degrees_of_freedom_never_exceed_clusters_minus_one() -> None:
    rng = np.random.default_rng(0)
    spread_out = rng.normal(size=(5, 400))
    assert equivalent_degrees_of_freedom(spread_out, 0.95) <= 4
