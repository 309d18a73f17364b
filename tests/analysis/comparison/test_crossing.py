"""Where two frontiers cross, as a set with the probability that they do not."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparison.difference import Differences

COMPUTE = np.geomspace(1e18, 1e22, 81)
LOG = np.log10(COMPUTE) - 20


def differences(curve: np.ndarray, spread: float) -> Differences:
    """Differences with noise in their height."""
    noise = np.random.default_rng(0).normal(size=(2000, 1)) * spread
    deviation = np.broadcast_to(noise, (2000, len(curve)))
    return Differences(
        compute_M=COMPUTE,
        difference_M=curve,
        deviation_RM=deviation,
        spread_M=np.sqrt(np.mean(deviation**2, axis=0)),
        degrees_of_freedom_M=np.full(len(curve), 1e4),
        level=0.95,
    )


def test_a_clear_crossing_is_a_short_closed_set_around_it() -> None:
    found = differences(0.1 * (LOG - 0.5), 0.01).crossing()
    (interval,) = found.intervals
    assert found.estimates == pytest.approx((10**20.5,), rel=1e-6)
    assert interval.lower is not None and interval.upper is not None
    # |0.1 x| = 1.96 * 0.01
    assert np.log10(interval.upper / interval.lower) == pytest.approx(2 * 0.196, rel=0.05)
    assert found.probability_none == 0


def test_curves_far_apart_do_not_cross() -> None:
    found = differences(np.full(81, 0.1), 0.01).crossing()
    assert (found.estimates, found.intervals, found.probability_none) == ((), (), 1.0)


def test_a_set_that_reaches_the_end_of_the_range_is_open_there() -> None:
    found = differences(0.1 * (LOG - 1.95), 0.01).crossing()
    (interval,) = found.intervals
    assert interval.upper is None and interval.lower is not None and interval.reason
    assert 0.1 < found.probability_none < 0.5  # crosses within the range unless the height is off by 0.005


def test_two_crossings_are_two_stretches() -> None:
    found = differences(0.1 * (LOG**2 - 1), 0.01).crossing()
    assert found.estimates == pytest.approx((1e19, 1e21), rel=1e-2)
    assert len(found.intervals) == 2


def test_who_is_better_follows_the_sign_and_the_noise() -> None:
    better = differences(0.1 * LOG, 0.01).probability_better()
    assert better[0] > 0.999 and better[-1] < 0.001
    assert better[40] == pytest.approx(0.5, abs=0.01)


def test_the_band_of_the_difference_is_wider_than_each_point_alone_needs() -> None:
    rng = np.random.default_rng(1)
    spread = 0.01
    deviation = rng.normal(size=(2000, 81)) * spread
    found = Differences(
        compute_M=COMPUTE,
        difference_M=np.zeros(81),
        deviation_RM=deviation,
        spread_M=np.sqrt(np.mean(deviation**2, axis=0)),
        degrees_of_freedom_M=np.full(81, 1e4),
        level=0.95,
    ).band()
    # the largest of 81 independent normals stays below 3.4 in 95 % of draws (0.95**(1 / 81), two-sided)
    assert found.simultaneous
    assert np.median(found.upper_M) / spread == pytest.approx(3.42, rel=0.05)
