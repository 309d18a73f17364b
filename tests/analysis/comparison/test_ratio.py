"""The equal-compute ratio and its Fieller set, against closed forms."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from analysis.comparison.compare import CompareOptions, Comparison, compare
from analysis.comparison.paired import PairedFrontiers
from analysis.comparison.ratio import Limits, RatioBand, ratio_band
from analysis.comparison.side import Side
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.forms.powers import PowerSum
from analysis.frontier import Menu

QUICK = CompareOptions(num_refits=99, nested=False, sensitivity=False)
ANY_MENU = Menu(towers=("S/16",), parameters_T=np.asarray([22e6]), flops_per_sample_T=np.asarray([28e9]))
LINE = np.linspace(-4.0, 4.0, 401)  # ln compute


@dataclasses.dataclass(frozen=True)
class TwoStandardErrors:
    """Stands for tails: every difference may be two standard errors from the truth."""

    def quantile(self, studied: int, rival: int) -> float:
        return 2.0


def lines(slope: float, slope_noise: float, height_noise: float) -> PairedFrontiers:
    """Studied frontier -slope * ln C with noise in slope and height, rival frontier 0 without noise."""
    signs = np.asarray([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    absent: Any = None
    return PairedFrontiers(
        compute_G=np.exp(LINE),
        studied_G=-slope * LINE,
        rival_G=np.zeros(len(LINE)),
        studied_RG=signs[:, :1] * height_noise + signs[:, 1:] * slope_noise * LINE,
        rival_RG=np.zeros((4, len(LINE))),
        studied_refits=absent,
        rival_refits=absent,
        studied_beyond_G=np.zeros(len(LINE), dtype=bool),
        rival_beyond_G=np.zeros(len(LINE), dtype=bool),
        studied_menu=absent,
        rival_menu=absent,
    )


def band_of(frontiers: PairedFrontiers, monkeypatch: pytest.MonkeyPatch) -> RatioBand:
    monkeypatch.setattr(PairedFrontiers, "reason", "")
    wide = Limits(low=math.exp(-4), high=math.exp(4), reach=1.0)
    tails: Any = TwoStandardErrors()
    return ratio_band(frontiers, tails, np.asarray([200]), limits=wide, rival=wide, level=0.95)


def test_the_set_is_fiellers(monkeypatch: pytest.MonkeyPatch) -> None:
    slope, slope_noise, height_noise = 0.1, 0.02, 0.03
    band = band_of(lines(slope, slope_noise, height_noise), monkeypatch)
    # |slope x| = 2 sqrt(height_noise**2 + slope_noise**2 x**2), a quadratic in x
    end = 2 * height_noise / math.sqrt(slope**2 - 4 * slope_noise**2)
    assert np.log(band.estimate_M[0]) == pytest.approx(0, abs=1e-12)
    assert np.log(band.lower_M[0]) == pytest.approx(-end, rel=1e-3)
    assert np.log(band.upper_M[0]) == pytest.approx(end, rel=1e-3)


def test_a_slope_that_may_be_zero_gives_zero_to_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    band = band_of(lines(0.03, 0.02, 0.03), monkeypatch)
    assert (band.lower_M[0], band.upper_M[0]) == (0.0, math.inf)
    interval = band.at(1.0)
    assert (interval.lower, interval.upper, interval.identified) == (None, None, False)
    assert "do not bound the ratio below or above" in interval.reason


def power_side(objective: str, scale: float, exponent: float, floor: float, noise: float = 0.0) -> Side:
    """Ten runs along compute of error = floor + scale * (C / 1e20)**-exponent, floor pinned in the fit."""
    compute = np.geomspace(1e18, 1e21, 10)
    wobble = 1 + noise * np.cos(7.0 * np.arange(10) + scale)
    error = (floor + scale * (compute / 1e20) ** -exponent) * wobble
    points = Observations.of(error, train_flops=compute, clusters=[f"{c:.3g}" for c in compute])
    fit = fit_form(points, PowerSum(("train_flops",), floor), FitOptions(loss="squares"))
    return Side(objective=objective, fit=fit, menu=ANY_MENU)


def compared(studied: Side, rival: Side) -> Comparison:
    return compare(studied, rival, options=QUICK)


@pytest.mark.parametrize("scale", [0.16, 0.2, 0.23])
def test_with_a_pinned_floor_the_ratio_is_that_of_the_excess_errors(scale: float) -> None:
    """r = ((e_A - E) / (e_B - E))**(1 / alpha) at equal compute."""
    studied, rival = power_side("a", scale, 0.25, 0.1), power_side("b", 0.2, 0.25, 0.1)
    found = compared(studied, rival)
    for compute in (1e19, 1e20, 9e20):
        excess = [float(side.fit.found.predict(train_flops=compute)) - 0.1 for side in (studied, rival)]
        identity = (excess[0] / excess[1]) ** (1 / 0.25)
        assert found.ratio_at(compute).estimate == pytest.approx(identity, rel=1e-3)


def test_identical_data_have_a_ratio_of_exactly_one() -> None:
    side = power_side("a", 0.2, 0.25, 0.1, noise=0.02)
    found = compared(side, side)
    assert found.ratio is not None
    for values in (found.ratio.estimate_M, found.ratio.lower_M, found.ratio.upper_M):
        np.testing.assert_allclose(values, 1, rtol=1e-9)
    assert found.difference is not None and np.all(found.difference.estimate_M == 0)
    np.testing.assert_array_equal(found.probability_better_M, 0.5)


def test_a_studied_floor_above_the_rivals_error_leaves_the_ratio_open_above() -> None:
    found = compared(power_side("a", 0.1, 0.25, 0.4, noise=0.01), power_side("b", 0.2, 0.25, 0.1, noise=0.01))
    top = found.ratio_at(1e21)
    assert top.estimate == math.inf and top.upper is None
    assert top.lower is not None and top.lower >= 9.9  # ten times the largest compute would not do
    assert "does not reach b's error" in found.sentence()


def test_a_studied_objective_that_is_always_better_leaves_the_ratio_open_below() -> None:
    found = compared(
        power_side("a", 0.02, 0.25, 0.1, noise=0.01), power_side("b", 0.12, 0.25, 0.4, noise=0.01)
    )
    bottom = found.ratio_at(1.1e18)
    assert (bottom.estimate, bottom.lower) == (0.0, None)
    assert bottom.upper is not None and bottom.upper < 1
    assert np.all(found.probability_better_M > 0.99)


def test_exchanging_the_objectives_inverts_the_ratio() -> None:
    studied, rival = power_side("a", 0.16, 0.25, 0.1, noise=0.01), power_side("b", 0.2, 0.25, 0.1, noise=0.01)
    there, back = compared(studied, rival).ratio_at(3e20), compared(rival, studied)
    product = there.estimate * back.ratio_at(3e20 * there.estimate).estimate
    assert product == pytest.approx(1, rel=1e-3)


def test_ratios_are_flagged_beyond_the_points_and_refused_beyond_ten_times() -> None:
    found = compared(power_side("a", 0.2, 0.25, 0.1, 0.01), power_side("b", 0.21, 0.25, 0.1, 0.01))
    assert found.ratio is not None and found.ratio_beyond is not None
    assert not found.ratio.is_extrapolated(1e20)
    assert found.ratio_beyond.is_extrapolated(5e21)
    found.ratio_at(9e21)
    with pytest.raises(ValueError, match="not believed beyond"):
        found.ratio_at(1.2e22)
