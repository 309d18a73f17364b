"""Studied minus rival error at equal compute: simultaneous band, who is better where, and where the curves cross.

Shapes.  G compute values of the grid, M of the band, R refits.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from analysis.comparison.paired import PairedFrontiers, Tails
from analysis.forms.form import Floats
from analysis.intervals.interval import Band, Interval, no_band
from analysis.intervals.spread import band_from_draws

METHOD = "paired wild cluster bootstrap"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CrossingSet:
    """Computes at which the objectives may change places, as a set: none, one stretch or several."""

    estimates: tuple[float, ...]  # FLOPs where the fitted frontiers cross, within the range
    # where the errors cannot be told apart; ends open at the ends of the range
    intervals: tuple[Interval, ...]
    probability_none: float  # that the frontiers do not cross within the range
    compute_range: tuple[float, float]
    level: float


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """Studied minus rival error along equal compute."""

    compute_M: Floats
    difference_M: Floats
    deviation_RM: Floats
    spread_M: Floats
    degrees_of_freedom_M: Floats
    level: float

    @classmethod
    def of(cls, frontiers: PairedFrontiers, tails: Tails, rows_M: npt.NDArray[np.int64]) -> Differences:
        """The differences at the given rows of the grid."""
        deviation_RM = frontiers.studied_RG[:, rows_M] - frontiers.rival_RG[:, rows_M]
        return cls(
            compute_M=frontiers.compute_G[rows_M],
            difference_M=frontiers.studied_G[rows_M] - frontiers.rival_G[rows_M],
            deviation_RM=deviation_RM,
            spread_M=np.sqrt(np.mean(deviation_RM**2, axis=0)),
            degrees_of_freedom_M=np.asarray([tails.degrees_of_freedom(row, row) for row in rows_M]),
            level=tails.level,
        )

    @property
    def quantile_M(self) -> Floats:
        """Standard errors that a difference may be from the truth, for each compute alone."""
        return np.asarray(t.ppf((1 + self.level) / 2, self.degrees_of_freedom_M))

    def band(self) -> Band:
        """The band that holds for the whole range at once (sup-t)."""
        return band_from_draws(
            self.difference_M,
            self.difference_M + self.deviation_RM,
            degrees_of_freedom_M=self.degrees_of_freedom_M,
            method=METHOD,
            simultaneous=True,
            level=self.level,
        )

    def probability_better(self) -> Floats:
        """P(the studied error is the smaller) [M] at each compute; 0.5 where the two are equal in every refit."""
        with np.errstate(divide="ignore", invalid="ignore"):
            distance_M = -self.difference_M / self.spread_M
        return np.asarray(t.cdf(np.nan_to_num(distance_M, nan=0.0), self.degrees_of_freedom_M))

    def crossing(self) -> CrossingSet:
        """Where the curves cross: computes whose difference is within its margin of 0, and P(none)."""
        inside_M = np.abs(self.difference_M) - self.quantile_M * self.spread_M
        # normal draws with the tails of the reference
        widened_M = self.quantile_M / norm.ppf((1 + self.level) / 2)
        drawn_RM = self.difference_M + widened_M * self.deviation_RM
        crosses_R = (drawn_RM.min(axis=1) <= 0) & (drawn_RM.max(axis=1) >= 0)
        log_compute_M = np.log(self.compute_M)
        return CrossingSet(
            estimates=tuple(float(np.exp(place)) for place in _zeros(log_compute_M, self.difference_M)),
            intervals=tuple(self._stretch(first, last, inside_M) for first, last in _runs(inside_M <= 0)),
            probability_none=float(1 - np.mean(crosses_R)),
            compute_range=(float(self.compute_M[0]), float(self.compute_M[-1])),
            level=self.level,
        )

    def _stretch(self, first: int, last: int, inside_M: Floats) -> Interval:
        """The interval of one run of computes that are not told apart, its ends interpolated."""
        log_compute_M = np.log(self.compute_M)
        lower = upper = None
        if first > 0:
            lower = float(
                np.exp(_zeros(log_compute_M[first - 1 : first + 1], inside_M[first - 1 : first + 1])[0])
            )
        if last < len(inside_M) - 1:
            upper = float(np.exp(_zeros(log_compute_M[last : last + 2], inside_M[last : last + 2])[0]))
        within = np.abs(self.difference_M[first : last + 1])
        return Interval(
            estimate=float(self.compute_M[first + int(np.argmin(within))]),
            lower=lower,
            upper=upper,
            level=self.level,
            method=METHOD,
            reason=(
                "" if lower and upper else "the set reaches an end of the range that both objectives cover"
            ),
        )


def no_differences(frontiers: PairedFrontiers, rows_M: npt.NDArray[np.int64], level: float) -> Band:
    """The estimated differences without a band, and why."""
    return no_band(
        frontiers.studied_G[rows_M] - frontiers.rival_G[rows_M],
        level=level,
        method=METHOD,
        simultaneous=True,
        reason=frontiers.reason,
    )


def _runs(chosen_M: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.diff(np.concatenate([[False], chosen_M, [False]]).astype(int))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist()))


def _zeros(x_M: Floats, values_M: Floats) -> list[float]:
    """Where values change sign, interpolated, and where they reach 0 itself."""
    places = []
    for row, (here, x) in enumerate(zip(values_M.tolist(), x_M.tolist(), strict=True)):
        before = float(values_M[row - 1]) if row else math.nan
        if here == 0 and before != 0:
            places.append(x)
        elif before * here < 0:
            places.append(x - (x - float(x_M[row - 1])) * here / (here - before))
    return places
