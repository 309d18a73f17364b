"""Intervals as values, and intervals from draws of a known distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from analysis.intervals.interval import Interval, no_band
from analysis.intervals.spread import band_from_draws, interval_from_draws

NORMAL_R = norm.ppf((np.arange(4000) + 0.5) / 4000)


def test_an_open_side_excludes_nothing_and_is_not_identified() -> None:
    upwards = Interval(estimate=2.0, lower=1.0, upper=None, level=0.95, method="profile likelihood")
    assert upwards.contains(1e9) and not upwards.contains(0.5)
    assert not upwards.identified


def test_an_interval_with_a_reason_against_it_is_not_identified() -> None:
    closed = Interval(estimate=2.0, lower=1.0, upper=3.0, level=0.95, method="m")
    assert closed.identified
    assert not Interval(estimate=2.0, lower=1.0, upper=3.0, level=0.95, method="m", reason="why").identified


@pytest.mark.parametrize(
    ("lower", "level", "told"), [(4.0, 0.95, "upside down"), (1.0, 95.0, "between 0 and 1")]
)
def test_an_impossible_interval_is_refused(lower: float, level: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Interval(estimate=2.0, lower=lower, upper=3.0, level=level, method="m")


def test_a_band_without_grounds_is_open_everywhere_and_says_why() -> None:
    band = no_band(np.asarray([1.0, 2.0]), level=0.9, method="m", simultaneous=True, reason="3 clusters")
    assert band.at(1) == Interval(
        estimate=2.0, lower=None, upper=None, level=0.9, method="m", reason="3 clusters"
    )


def test_normal_draws_give_the_t_interval() -> None:
    interval = interval_from_draws(5.0, 5.0 + 2.0 * NORMAL_R, degrees_of_freedom=7.0, method="m", level=0.9)
    reach = 2.0 * t.ppf(0.95, 7.0)
    assert (interval.lower, interval.upper) == pytest.approx((5.0 - reach, 5.0 + reach), rel=1e-3)
    assert interval.degrees_of_freedom == 7.0


def test_on_a_log_scale_ends_are_ratios_and_stay_positive() -> None:
    interval = interval_from_draws(
        1.5, 1.5 * np.exp(3.0 * NORMAL_R), degrees_of_freedom=1e6, method="m", scale="log"
    )
    reach = np.exp(3.0 * norm.ppf(0.975))
    assert (interval.lower, interval.upper) == pytest.approx((1.5 / reach, 1.5 * reach), rel=1e-2)


def test_two_valued_draws_keep_their_whole_spread() -> None:
    """Percentiles of draws that one cluster decides would be those two values themselves, whatever the level."""
    draws_R = 1.0 + 0.1 * np.where(np.arange(1000) % 2, 1.0, -1.0)
    interval = interval_from_draws(1.0, draws_R, degrees_of_freedom=1.0, method="m")
    assert interval.upper == pytest.approx(1.0 + 0.1 * 12.706, rel=1e-3)


def test_each_side_has_its_own_spread() -> None:
    skewed_R = np.where(NORMAL_R > 0, 3.0, 1.0) * NORMAL_R
    interval = interval_from_draws(0.0, skewed_R, degrees_of_freedom=1e6, method="m")
    assert interval.lower == pytest.approx(-norm.ppf(0.975), rel=1e-2)
    assert interval.upper == pytest.approx(3 * norm.ppf(0.975), rel=1e-2)


@pytest.mark.parametrize(("num_infinite", "closed"), [(10, True), (200, False)])
def test_a_side_is_open_once_its_tail_is_infinite(num_infinite: int, closed: bool) -> None:
    draws_R = NORMAL_R.copy()
    draws_R[-num_infinite:] = np.inf
    interval = interval_from_draws(0.0, draws_R, degrees_of_freedom=20.0, method="m")
    assert interval.lower is not None
    assert (interval.upper is not None) == closed == interval.identified


def test_refits_on_one_side_of_the_estimate_give_no_interval() -> None:
    interval = interval_from_draws(-5.0, NORMAL_R, degrees_of_freedom=20.0, method="m")
    assert (interval.lower, interval.upper) == (None, None) and "one side" in interval.reason


def test_a_quantity_that_no_refit_changes_is_known_exactly() -> None:
    interval = interval_from_draws(0.3, np.full(100, 0.3), degrees_of_freedom=9.0, method="m")
    assert (interval.lower, interval.upper) == (0.3, 0.3)


def test_draws_that_are_not_numbers_or_negative_on_a_log_scale_are_refused() -> None:
    for draws_R, scale in ((np.asarray([1.0, np.nan]), "linear"), (np.asarray([1.0, -2.0]), "log")):
        with pytest.raises(ValueError, match="not numbers"):
            interval_from_draws(1.0, draws_R, degrees_of_freedom=9.0, method="m", scale=scale)  # type: ignore


def test_a_simultaneous_band_of_independent_points_is_wider_as_sidak_says() -> None:
    rng = np.random.default_rng(0)
    draws_RM = rng.normal(size=(40_000, 10))
    freedom_M = np.full(10, 1e6)
    band = band_from_draws(
        np.zeros(10), draws_RM, degrees_of_freedom_M=freedom_M, method="m", simultaneous=True
    )
    per_point = 0.95 ** (1 / 10)
    np.testing.assert_allclose(band.upper_M, norm.ppf((1 + per_point) / 2), rtol=0.02)


def test_a_simultaneous_band_of_one_point_is_the_pointwise_one() -> None:
    draws_RM, freedom_M = NORMAL_R[:, None], np.asarray([12.0])
    bands = [
        band_from_draws(
            np.zeros(1), draws_RM, degrees_of_freedom_M=freedom_M, method="m", simultaneous=simultaneous
        )
        for simultaneous in (False, True)
    ]
    np.testing.assert_allclose(bands[0].upper_M, bands[1].upper_M, rtol=2e-3)
